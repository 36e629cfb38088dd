//! What is known at compile time, used at compile time.

use candle_core::Tensor;
use candle_nn::{Activation, Linear};
use freeze_core::{Freezable, LeafTree};

use super::common::{assert_model, linear, var};

#[derive(Freezable)]
struct Block {
    conv: Linear,
    norm: Linear,
}

#[derive(Freezable)]
struct Net {
    #[freeze(param)]
    position: Tensor,
    stem: Linear,
    act: Activation,
    #[freeze(rename = "layers")]
    body: [Block; 3],
    #[freeze(skip)]
    classes: usize,
    head: Linear,
}

const LEAVES: LeafTree = Net::LEAVES;
const DEPTHS: [usize; 6] = [
    LEAVES.before("position"),
    LEAVES.before("stem"),
    LEAVES.before("act"),
    LEAVES.before("layers"),
    LEAVES.before("layers.1.norm"),
    LEAVES.before("head"),
];
const THROUGH: [usize; 3] =
    [LEAVES.through("stem"), LEAVES.through("act"), LEAVES.through("layers.2")];
const _: () = assert!(matches!(LEAVES.len(), Some(9)));

/// A constant length can size an array.
const STATES: [bool; Net::LEAVES.before("head")] = [true; 8];

fn net() -> Net {
    let block = || Block { conv: linear(1), norm: linear(2) };
    Net {
        position: var(&[1f32]),
        stem: linear(3),
        act: Activation::Relu,
        body: [block(), block(), block()],
        classes: 10,
        head: linear(4),
    }
}

#[test]
fn constants_agree_with_the_model() {
    let net = net();
    let expected = [
        "position",
        "stem",
        "layers.0.conv",
        "layers.0.norm",
        "layers.1.conv",
        "layers.1.norm",
        "layers.2.conv",
        "layers.2.norm",
        "head",
    ];
    assert_model(&net, &expected);
    assert_eq!(DEPTHS, [0, 1, 2, 2, 5, 8]);
    assert_eq!(THROUGH, [2, 2, 8]);
    assert_eq!(STATES.len(), net.leaf_before("head").unwrap());
    let view = net.freeze_upto(DEPTHS[4]).unwrap();
    assert!(!view.body[1].conv.weight().is_variable());
    assert!(view.body[1].norm.weight().is_variable());
    assert_eq!(view.classes, 10);
}

#[test]
fn the_layout_prints_as_a_tree() {
    let text = "\
Net
  position: Tensor
  stem: Linear
  layers[0..3]: Block
    conv: Linear
    norm: Linear
  head: Linear
";
    assert_eq!(LEAVES.to_string(), text);
    assert_eq!(format!("{LEAVES:?}"), text);
}
