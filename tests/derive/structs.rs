//! Structs: named fields, tuples, newtypes, nesting, raw identifiers.

use candle_core::{Device, Module, Result, Tensor};
use candle_nn::{Activation, Dropout, Linear};
use freeze_core::Freezable;

use super::common::{assert_model, kinds, linear, names};

#[derive(Freezable)]
struct Named {
    zeta: Linear,
    act: Activation,
    alpha: Linear,
    drop: Dropout,
    mid: Linear,
}

fn named() -> Named {
    let (act, drop) = (Activation::Relu, Dropout::new(0.0));
    Named { zeta: linear(1), act, alpha: linear(2), drop, mid: linear(3) }
}

#[test]
fn leaves_are_in_declaration_order_and_fields_without_parameters_count_for_nothing() {
    assert_model(&named(), &["zeta", "alpha", "mid"]);
    assert_eq!(kinds(&named()), ["Linear"; 3]);
    let expected =
        ["zeta.weight", "zeta.bias", "alpha.weight", "alpha.bias", "mid.weight", "mid.bias"];
    assert_eq!(names(&named()), expected);
}

impl Module for Named {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.mid.forward(&self.alpha.forward(&self.zeta.forward(x)?.apply(&self.act)?)?)
    }
}

#[test]
fn no_gradient_reaches_a_frozen_leaf_and_the_graph_shrinks() {
    let (net, x) = (named(), Tensor::ones((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap());
    let vars = net.vars().unwrap();
    let mut nodes = usize::MAX;
    for n in 0..=3 {
        let loss = net.freeze_upto(n).unwrap().forward(&x).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let reached: Vec<bool> = vars.iter().map(|var| grads.get(var).is_some()).collect();
        let expected: Vec<bool> = (0..6).map(|tensor| tensor / 2 >= n).collect();
        assert_eq!(reached, expected, "depth {n}");
        let now = loss.sorted_nodes().len();
        assert!(now < nodes, "depth {n}: {now} nodes after {nodes}");
        nodes = now;
    }
}

#[derive(Freezable)]
struct Tuple(Linear, Activation, Linear);

#[test]
fn fields_of_a_tuple_struct_are_numbered_as_they_are_declared() {
    assert_model(&Tuple(linear(1), Activation::Gelu, linear(2)), &["0", "2"]);
}

#[derive(Freezable)]
struct Newtype(Linear);

#[test]
fn a_newtype_has_a_segment_too() {
    assert_model(&Newtype(linear(1)), &["0"]);
    assert_eq!(names(&Newtype(linear(1))), ["0.weight", "0.bias"]);
}

#[derive(Freezable)]
struct Outer {
    stem: Newtype,
    body: Named,
    pair: Tuple,
}

#[test]
fn paths_of_nested_structs_are_joined_by_dots() {
    let outer = Outer {
        stem: Newtype(linear(7)),
        body: named(),
        pair: Tuple(linear(8), Activation::Relu, linear(9)),
    };
    let expected = ["stem.0", "body.zeta", "body.alpha", "body.mid", "pair.0", "pair.2"];
    assert_model(&outer, &expected);
    for (path, before) in [("stem", 0), ("body", 1), ("body.mid", 3), ("pair", 4), ("pair.2", 5)] {
        assert_eq!(outer.leaf_before(path).unwrap(), before, "{path}");
        assert_eq!(Outer::LEAVES.before(path), before, "{path}");
    }
    assert!(outer.leaf_before("bodi").is_err());
}

#[derive(Freezable)]
#[allow(non_camel_case_types)]
struct r#struct {
    r#type: Linear,
    r#match: Linear,
}

#[test]
fn raw_identifiers_lose_their_prefix() {
    assert_model(&r#struct { r#type: linear(1), r#match: linear(2) }, &["type", "match"]);
    assert_eq!(r#struct::LEAVES.to_string().lines().next(), Some("struct"));
}

macro_rules! through_a_macro {
    ($name:ident, $($field:ident: $ty:ty),+) => {
        #[derive(Freezable)]
        struct $name { $($field: $ty),+ }
    };
}

through_a_macro!(FromMacro, first: Linear, rest: Vec<Linear>);

#[test]
fn types_may_come_out_of_a_macro() {
    assert_model(&FromMacro { first: linear(1), rest: vec![linear(2)] }, &["first", "rest.0"]);
}

#[test]
fn a_type_inside_a_function_can_derive() {
    #[derive(Freezable)]
    struct Local {
        only: Linear,
    }
    assert_model(&Local { only: linear(1) }, &["only"]);
}

#[derive(Freezable)]
struct NoLeaf {
    act: Activation,
}

#[test]
fn a_struct_may_have_no_leaf_after_all() {
    assert_eq!(NoLeaf::LEAVES.len(), Some(0));
    assert_model(&NoLeaf { act: Activation::Relu }, &[]);
}

struct Droppable;

impl Drop for Droppable {
    fn drop(&mut self) {}
}

impl Clone for Droppable {
    fn clone(&self) -> Self {
        Self
    }
}

#[derive(Freezable)]
struct WithDrop {
    head: Linear,
    #[freeze(skip)]
    _guard: Droppable,
}

impl Drop for WithDrop {
    fn drop(&mut self) {}
}

#[test]
fn a_struct_with_a_destructor_can_derive() {
    assert_model(&WithDrop { head: linear(1), _guard: Droppable }, &["head"]);
}
