//! Fields of container types: index segments, and the transparent `Option` and `Box`.

use candle_nn::{Activation, Linear};
use freeze_core::Freezable;

use super::common::{assert_model, linear};

#[derive(Freezable)]
struct Block {
    conv: Linear,
    act: Activation,
    norm: Linear,
}

fn block(seed: u32) -> Block {
    Block { conv: linear(seed), act: Activation::Relu, norm: linear(seed + 1) }
}

#[derive(Freezable)]
struct Net {
    list: Vec<Block>,
    array: [Linear; 2],
    pair: (Linear, Block),
    maybe: Option<Linear>,
    boxed: Box<Block>,
    deep: Vec<Option<Box<Linear>>>,
    acts: Vec<Activation>,
}

fn net(blocks: u32, maybe: Option<Linear>, deep: &[bool]) -> Net {
    Net {
        list: (0..blocks).map(|i| block(10 * i)).collect(),
        array: [linear(1), linear(2)],
        pair: (linear(3), block(4)),
        maybe,
        boxed: Box::new(block(6)),
        deep: deep.iter().map(|some| some.then(|| Box::new(linear(8)))).collect(),
        acts: vec![Activation::Relu; 3],
    }
}

#[test]
fn containers_add_indices_and_option_and_box_add_nothing() {
    let expected = [
        "list.0.conv",
        "list.0.norm",
        "list.1.conv",
        "list.1.norm",
        "array.0",
        "array.1",
        "pair.0",
        "pair.1.conv",
        "pair.1.norm",
        "maybe",
        "boxed.conv",
        "boxed.norm",
        "deep.1",
    ];
    assert_model(&net(2, Some(linear(9)), &[false, true]), &expected);
}

#[test]
fn absent_parts_have_no_leaves() {
    let expected =
        ["array.0", "array.1", "pair.0", "pair.1.conv", "pair.1.norm", "boxed.conv", "boxed.norm"];
    assert_model(&net(0, None, &[]), &expected);
}

#[test]
fn indices_do_not_stop_at_nine() {
    let net = net(11, None, &[]);
    assert_eq!(net.leaf_before("list.10").unwrap(), 20);
    assert_eq!(net.leaf_before("list.1").unwrap(), 2);
    assert_eq!(net.leaf_before("array").unwrap(), 22);
}

#[derive(Freezable)]
struct Fixed {
    grid: [[Block; 2]; 3],
    boxed: Box<(Linear, [Linear; 4])>,
    none: [Linear; 0],
    head: Linear,
}

const _: () = assert!(matches!(Fixed::LAYOUT.len(), Some(18)));
const THIRD: usize = Fixed::LAYOUT.before("grid.2");
const FIRST_HALF: usize = Fixed::LAYOUT.through("grid.1.0.conv");

#[test]
fn arrays_tuples_and_boxes_are_counted_at_compile_time() {
    let grid = || [block(1), block(3)];
    let fixed = Fixed {
        grid: [grid(), grid(), grid()],
        boxed: Box::new((linear(1), [linear(2), linear(3), linear(4), linear(5)])),
        none: [],
        head: linear(6),
    };
    super::common::assert_laws(&fixed);
    assert_eq!((THIRD, FIRST_HALF), (8, 5));
    assert_eq!(fixed.leaf_before("grid.2").unwrap(), THIRD);
    assert_eq!(fixed.leaf_before("grid.1.0.norm").unwrap(), FIRST_HALF);
    assert_eq!(Fixed::LAYOUT.before("boxed.1.3"), fixed.leaf_before("boxed.1.3").unwrap());
}
