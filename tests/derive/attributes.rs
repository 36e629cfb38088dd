//! `skip`, `param`, `rename`, `unit`, alone and together.

use std::cell::Cell;
use std::rc::Rc;

use candle_core::Tensor;
use candle_nn::Linear;
use freeze_core::Freezable;

use super::common::{assert_model, kinds, linear, names, var};

#[derive(Clone, Default)]
struct Counter(Rc<Cell<usize>>);

#[derive(Freezable)]
struct Skips {
    #[freeze(skip)]
    calls: Counter,
    #[freeze(skip)]
    label: &'static str,
    #[freeze(skip)]
    teacher: Linear,
    student: Linear,
    #[freeze(skip)]
    raw: Tensor,
}

#[test]
fn a_skipped_field_is_cloned_and_never_frozen() {
    let calls = Counter::default();
    let net = Skips {
        calls: calls.clone(),
        label: "net",
        teacher: linear(1),
        student: linear(2),
        raw: var(&[1f32]),
    };
    assert_model(&net, &["student"]);
    const { assert!(matches!(Skips::LEAVES.len(), Some(1))) };
    let view = net.freeze_upto(1).unwrap();
    view.calls.0.set(3);
    assert_eq!(calls.0.get(), 3, "the clone is not the user's own");
    assert_eq!(view.label, "net");
    assert_eq!(view.teacher.weight().id(), net.teacher.weight().id());
    assert_eq!(view.raw.id(), net.raw.id());
    assert!(!view.student.weight().is_variable());
}

#[derive(Freezable)]
struct Params {
    #[freeze(param)]
    position: Tensor,
    #[freeze(param)]
    scale: Option<Tensor>,
    #[freeze(param)]
    shift: Option<Tensor>,
    #[freeze(param)]
    stack: Vec<Tensor>,
    head: Linear,
}

#[test]
fn a_parameter_is_one_leaf() {
    let net = Params {
        position: var(&[1f32]),
        scale: Some(var(&[2f32])),
        shift: None,
        stack: vec![var(&[3f32]), var(&[4f32])],
        head: linear(1),
    };
    assert_model(&net, &["position", "scale", "stack", "head"]);
    assert_eq!(kinds(&net), ["Tensor", "Tensor", "Tensor", "Linear"]);
    let expected = ["position", "scale", "stack.0", "stack.1", "head.weight", "head.bias"];
    assert_eq!(names(&net), expected);
    assert_eq!(Params::LEAVES.len(), None);
    const POSITION: usize = Params::LEAVES.through("position");
    assert_eq!(POSITION, 1);
}

#[derive(Freezable)]
struct Lists {
    #[freeze(param)]
    pair: [Tensor; 2],
    #[freeze(param)]
    none: [Tensor; 0],
    #[freeze(param)]
    some: Vec<Option<Tensor>>,
    head: Linear,
}

#[test]
fn a_list_of_tensors_is_one_leaf_and_an_absent_one_keeps_its_place() {
    let (a, b) = (var(&[1f32]), var(&[2f32]));
    let lists = |some| Lists { pair: [a.clone(), b.clone()], none: [], some, head: linear(1) };
    let net = lists(vec![None, Some(var(&[3f32])), None, Some(var(&[4f32]))]);
    assert_model(&net, &["pair", "some", "head"]);
    let expected = ["pair.0", "pair.1", "some.1", "some.3", "head.weight", "head.bias"];
    assert_eq!(names(&net), expected);
    let view = net.freeze_upto(2).unwrap();
    assert!(view.some[0].is_none() && view.some[3].as_ref().is_some_and(|it| !it.is_variable()));
    assert_eq!(view.none.len(), 0);
    for absent in [vec![], vec![None, None]] {
        let net = lists(absent.clone());
        assert_model(&net, &["pair", "head"]);
        assert_eq!(net.freeze_upto(1).unwrap().some.len(), absent.len());
    }
    assert_eq!(Lists::LEAVES.before("some"), 1);
}

#[derive(Freezable)]
struct Renamed {
    #[freeze(rename = "conv1")]
    first: Linear,
    #[freeze(rename = "type", unit)]
    second: Vec<Linear>,
    #[freeze(param, rename = "cls_token")]
    third: Tensor,
    // The names of the fields may be given anew all round.
    #[freeze(rename = "first")]
    fourth: Linear,
}

#[derive(Freezable)]
struct RenamedTuple(#[freeze(rename = "1")] Linear, #[freeze(rename = "0")] Linear);

#[test]
fn a_new_name_is_the_path_segment() {
    let net = Renamed {
        first: linear(1),
        second: vec![linear(2), linear(3)],
        third: var(&[1f32]),
        fourth: linear(4),
    };
    assert_model(&net, &["conv1", "type", "cls_token", "first"]);
    assert_eq!(Renamed::LEAVES.before("first"), 3);
    assert_eq!(names(&net)[2], "type.0.weight");
    assert_model(&RenamedTuple(linear(1), linear(2)), &["1", "0"]);
}

/// Names of a checkpoint that is nested deeper than the struct.
#[derive(Freezable)]
struct Flat {
    #[freeze(rename = "attention.self.query")]
    query: Linear,
    #[freeze(rename = "attention.output")]
    mix: [Linear; 2],
    attention_: Linear,
    #[freeze(rename = "attention.norm", unit)]
    norm: Vec<Linear>,
}

#[test]
fn a_new_name_may_have_several_segments() {
    let mix = [linear(2), linear(3)];
    let net = Flat { query: linear(1), mix, attention_: linear(4), norm: vec![linear(5)] };
    let [query, mix, norm] = ["attention.self.query", "attention.output", "attention.norm"];
    assert_model(&net, &[query, "attention.output.0", "attention.output.1", "attention_", norm]);
    for (path, before, through) in [(query, 0, 1), (mix, 1, 3), ("attention_", 3, 4), (norm, 4, 5)]
    {
        assert_eq!((Flat::LEAVES.before(path), net.leaf_before(path).unwrap()), (before, before));
        assert_eq!(Flat::LEAVES.through(path), through, "{path}");
    }
    assert_eq!(Flat::LEAVES.before("attention.output.1"), 2);
    assert_eq!(net.leaf_before("attention").unwrap(), 0);
    let wrong = net.leaf_before("attention.self.querry").unwrap_err().to_string();
    assert!(wrong.contains("attention.self.query"), "{wrong}");
    for wrong in ["attention", "attention.out", "attention.output.2", "attention.self.query.x"] {
        assert!(std::panic::catch_unwind(|| Flat::LEAVES.before(wrong)).is_err(), "{wrong}");
    }
}

#[derive(Freezable)]
#[freeze(unit)]
struct Block {
    one: Linear,
    #[freeze(skip)]
    dim: usize,
    #[freeze(rename = "second")]
    two: Linear,
    #[freeze(param)]
    gamma: Tensor,
}

fn block() -> Block {
    Block { one: linear(1), dim: 2, two: linear(2), gamma: var(&[1f32]) }
}

#[derive(Freezable)]
struct Stack {
    stem: Linear,
    blocks: Vec<Block>,
    #[freeze(unit)]
    neck: (Linear, Linear),
    #[freeze(unit)]
    tail: Vec<Block>,
    head: Linear,
}

#[test]
fn a_unit_freezes_as_a_whole() {
    let net = Stack {
        stem: linear(1),
        blocks: vec![block(), block()],
        neck: (linear(2), linear(3)),
        tail: vec![block(), block()],
        head: linear(4),
    };
    assert_model(&net, &["stem", "blocks.0", "blocks.1", "neck", "tail", "head"]);
    assert_eq!(kinds(&net), ["Linear", "Block", "Block", "tuple", "Vec", "Linear"]);
    let of_block: Vec<String> = ["one.weight", "one.bias", "second.weight", "second.bias", "gamma"]
        .map(|name| format!("blocks.1.{name}"))
        .into();
    assert_eq!(names(&net)[7..12], of_block);
    let view = net.freeze_upto(2).unwrap();
    assert!(!view.blocks[0].one.weight().is_variable() && !view.blocks[0].gamma.is_variable());
    assert!(view.blocks[1].one.weight().is_variable());
    assert_eq!(view.blocks[0].dim, 2);
}

#[test]
fn the_length_of_a_unit_is_known() {
    const { assert!(matches!(Block::LEAVES.len(), Some(1))) };
    assert_eq!(Stack::LEAVES.len(), None);
    assert_eq!(Stack::LEAVES.through("stem"), 1);
    assert_model(&block(), &[""]);
}

#[derive(Freezable)]
struct UnitAfterVec {
    #[freeze(unit)]
    body: Vec<Linear>,
    head: Linear,
}

const _: () = assert!(UnitAfterVec::LEAVES.before("head") == 1);

#[test]
fn a_unit_field_hides_how_many_layers_it_has() {
    for layers in 0..3 {
        let net = UnitAfterVec { body: (0..layers).map(linear).collect(), head: linear(9) };
        assert_model(&net, &["body", "head"]);
    }
}
