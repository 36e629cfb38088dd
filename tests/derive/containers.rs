//! Fields of container types: index segments, keys, and the transparent `Option` and pointers.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, Linear};
use freeze_core::{Error, Freezable, Freezer};

use super::common::{assert_laws, assert_model, linear};
use crate::walks::assert_same_walks;

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

const _: () = assert!(matches!(Fixed::LEAVES.len(), Some(18)));
const THIRD: usize = Fixed::LEAVES.before("grid.2");
const FIRST_HALF: usize = Fixed::LEAVES.through("grid.1.0.conv");

#[test]
fn arrays_tuples_and_boxes_are_counted_at_compile_time() {
    let grid = || [block(1), block(3)];
    let fixed = Fixed {
        grid: [grid(), grid(), grid()],
        boxed: Box::new((linear(1), [linear(2), linear(3), linear(4), linear(5)])),
        none: [],
        head: linear(6),
    };
    assert_laws(&fixed);
    assert_eq!((THIRD, FIRST_HALF), (8, 5));
    assert_eq!(fixed.leaf_before("grid.2").unwrap(), THIRD);
    assert_eq!(fixed.leaf_before("grid.1.0.norm").unwrap(), FIRST_HALF);
    assert_eq!(Fixed::LEAVES.before("boxed.1.3"), fixed.leaf_before("boxed.1.3").unwrap());
}

#[derive(Freezable)]
struct Kept {
    front: Arc<Linear>,
    rest: VecDeque<Linear>,
    slice: Box<[Linear]>,
    named: BTreeMap<String, Block>,
    nothing: (),
    again: Arc<Linear>,
    other: Rc<Linear>,
}

fn kept(front: Linear) -> Kept {
    let (front, mut rest) = (Arc::new(front), VecDeque::from([linear(1)]));
    rest.push_front(linear(2));
    let named = ["b", "a", "10", "9"].map(|key| (key.to_string(), block(3)));
    let slice = Box::new([linear(4), linear(5)]);
    let (again, other) = (front.clone(), Rc::new(linear(7)));
    Kept { front, rest, slice, named: named.into(), nothing: (), again, other }
}

#[test]
fn lists_have_indices_maps_have_keys_in_order_and_pointers_add_nothing() {
    let expected = [
        "front",
        "rest.0",
        "rest.1",
        "slice.0",
        "slice.1",
        "named.10.conv",
        "named.10.norm",
        "named.9.conv",
        "named.9.norm",
        "named.a.conv",
        "named.a.norm",
        "named.b.conv",
        "named.b.norm",
        "again",
        "other",
    ];
    assert_model(&kept(linear(6)), &expected);
}

#[test]
fn what_is_shared_stays_tied() {
    let net = kept(linear(6));
    assert_eq!(net.vars().unwrap().len(), 2 * 14, "the shared layer is counted once");
    let mut freezer = Freezer::new(net).unwrap();
    let change = freezer.freeze_front(1, &mut []).unwrap();
    assert_eq!(change.ties[0].trained_in, ["again"]);
    assert!(!freezer.front.weight().is_variable() && freezer.again.weight().is_variable());

    let plain = Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap();
    let net = kept(Linear::new(plain, None)).into_trainable().unwrap();
    assert!(net.front.weight().is_variable());
    assert_eq!(net.front.weight().id(), net.again.weight().id());
}

#[test]
fn a_key_that_is_no_segment_is_refused() {
    for key in ["", "a.b", "."] {
        let map = BTreeMap::from([(key.to_string(), linear(1))]);
        assert_same_walks(&map);
        let error = map.leaves().map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Mapping { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{key:?}")), "{error}");
    }
}

type Twelve<T> = (T, T, T, T, T, T, T, T, T, T, T, T);

#[test]
fn tuples_have_up_to_twelve_parts() {
    let l = linear;
    let tuple: Twelve<Linear> =
        (l(0), l(1), l(2), l(3), l(4), l(5), l(6), l(7), l(8), l(9), l(10), l(11));
    let expected: Vec<String> = (0..12).map(|i| i.to_string()).collect();
    assert_model(&tuple, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(Twelve::<Linear>::LEAVES.before("11"), 11);
}

#[derive(Freezable)]
struct Settings {
    width: usize,
    names: Vec<String>,
    stem: Linear,
    scale: Option<f64>,
    acts: Vec<Activation>,
    pair: ([u8; 2], &'static str),
    table: BTreeMap<String, Arc<str>>,
    head: Linear,
}

// However many settings there are, they are no leaves, and the type knows it.
const HEAD: usize = Settings::LEAVES.before("head");

#[test]
fn settings_are_cloned_and_count_for_nothing() {
    let net = Settings {
        width: 3,
        names: vec!["a".into(), "b".into()],
        stem: linear(1),
        scale: Some(0.5),
        acts: vec![Activation::Relu],
        pair: ([1, 2], "pair"),
        table: BTreeMap::from([("any.key".replace('.', "_"), Arc::from("text"))]),
        head: linear(2),
    };
    assert_model(&net, &["stem", "head"]);
    assert_eq!((HEAD, Settings::LEAVES.len()), (1, Some(2)));
    let view = net.freeze_upto(1).unwrap();
    assert_eq!((view.width, &view.names, view.scale), (3, &net.names, Some(0.5)));
    assert_eq!((view.acts.len(), view.pair, &view.table), (1, net.pair, &net.table));
}

#[derive(Freezable)]
#[allow(clippy::type_complexity, reason = "it is what is tested")]
enum Tuples<T> {
    One((T, Linear)),
    Unit(#[freeze(unit)] (T, (Linear, T))),
    Slow(#[freeze(lr = 0.5)] (T, Linear)),
    Two { pair: (T, (Linear, Vec<T>)), wide: (T, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, T) },
}

#[test]
fn a_tuple_in_a_field_is_taken_element_by_element() {
    let (l, list) = (linear, vec![linear(4)]);
    let wide = (l(5), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, l(6));
    for (value, expected) in [
        (Tuples::One((l(1), l(2))), vec!["0", "1"]),
        (Tuples::Unit((l(1), (l(2), l(3)))), vec![""]),
        (Tuples::Slow((l(1), l(2))), vec!["0", "1"]),
        (
            Tuples::Two { pair: (l(1), (l(2), list)), wide },
            vec!["pair.0", "pair.1.0", "pair.1.1.0", "wide.0", "wide.12"],
        ),
    ] {
        assert_model(&value, &expected);
    }
    let text = Tuples::<Linear>::LEAVES.to_string();
    assert!(text.contains("    pair: tuple\n      0: Linear\n      1: tuple\n"), "{text}");
}
