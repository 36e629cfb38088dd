//! Type, lifetime and const parameters, with and without where clauses.

use std::fmt::Debug;
use std::marker::PhantomData;

use candle_core::Tensor;
use candle_nn::{Activation, Linear};
use freeze_core::Freezable;

use super::common::{assert_model, linear, var};

#[derive(Freezable)]
struct Wrapper<L> {
    inner: L,
}

#[derive(Freezable)]
struct Two<A, B = Linear>
where
    A: Debug,
{
    first: A,
    rest: Vec<Wrapper<B>>,
}

#[test]
fn predicates_are_on_the_field_types() {
    let two = Two { first: linear(1), rest: vec![Wrapper { inner: linear(2) }] };
    assert_model(&two, &["first", "rest.0.inner"]);
    let nested = Wrapper { inner: Wrapper { inner: [linear(1), linear(2)] } };
    assert_model(&nested, &["inner.inner.0", "inner.inner.1"]);
    assert_eq!(Wrapper::<Wrapper<[Linear; 2]>>::LEAVES.len(), Some(2));
    const DEPTH: usize = Wrapper::<(Linear, Linear)>::LEAVES.before("inner.1");
    assert_eq!(DEPTH, 1);
}

/// No trait at all.
struct Marker;

#[derive(Freezable)]
struct Marked<T> {
    tag: PhantomData<T>,
    head: Linear,
}

#[test]
fn a_parameter_that_is_no_layer_needs_no_bound() {
    assert_model(&Marked::<Marker> { tag: PhantomData, head: linear(1) }, &["head"]);
}

trait Family {
    type Layer;
    type Config;
}

struct Dense;

impl Family for Dense {
    type Layer = Linear;
    type Config = usize;
}

#[derive(Freezable)]
struct Of<F: Family> {
    layer: F::Layer,
    list: Vec<<F as Family>::Layer>,
    #[freeze(skip)]
    config: F::Config,
}

#[test]
fn associated_types_get_the_predicate_not_their_family() {
    let of = Of::<Dense> { layer: linear(1), list: vec![linear(2)], config: 3 };
    assert_model(&of, &["layer", "list.0"]);
    assert_eq!(of.freeze_upto(1).unwrap().config, 3);
}

#[derive(Freezable)]
struct Sized2<const N: usize, const ACT: bool> {
    layers: [Linear; N],
    inner: Inner<N>,
}

#[derive(Freezable)]
struct Inner<const N: usize>([[Linear; N]; 2]);

#[test]
fn const_parameters_count() {
    const { assert!(matches!(Sized2::<3, true>::LEAVES.len(), Some(9))) };
    let pair = || [linear(1), linear(2)];
    let net = Sized2::<2, false> { layers: pair(), inner: Inner([pair(), pair()]) };
    let expected =
        ["layers.0", "layers.1", "inner.0.0.0", "inner.0.0.1", "inner.0.1.0", "inner.0.1.1"];
    assert_model(&net, &expected);
}

#[derive(Freezable)]
struct Borrowing<'a, 'b: 'a, T: ?Sized> {
    head: Linear,
    #[freeze(skip)]
    name: &'a str,
    #[freeze(skip)]
    shared: &'b T,
}

#[test]
fn lifetimes_and_unsized_parameters_pass_through() {
    let (name, shared) = (String::from("net"), [1u8, 2]);
    let net = Borrowing::<[u8]> { head: linear(1), name: &name, shared: &shared };
    assert_model(&net, &["head"]);
    let view = net.freeze_upto(1).unwrap();
    assert_eq!((view.name, view.shared), ("net", &shared[..]));
}

#[derive(Freezable)]
struct Skipping<C, L> {
    #[freeze(skip)]
    config: Vec<C>,
    layer: L,
}

#[test]
fn a_skipped_field_of_a_parameter_must_be_clone_and_no_more() {
    #[derive(Clone, PartialEq, Debug)]
    struct Config(u8);
    let net = Skipping { config: vec![Config(1)], layer: linear(1) };
    assert_model(&net, &["layer"]);
    assert_eq!(net.freeze_upto(1).unwrap().config, [Config(1)]);
}

#[derive(Freezable)]
struct Table<T, L> {
    #[freeze(param)]
    position: T,
    #[freeze(unit)]
    body: Vec<L>,
}

#[test]
fn a_generic_parameter_field_asks_for_a_tensor() {
    let one = Table { position: var(&[1f32]), body: vec![linear(1)] };
    assert_model(&one, &["position", "body"]);
    let maybe = Table::<Option<Tensor>, Linear> { position: None, body: vec![] };
    assert_model(&maybe, &["body"]);
}

#[derive(Freezable)]
enum Either<L, R> {
    Left(L),
    Right { inner: R, act: Activation },
    Neither,
}

#[test]
fn enums_can_be_generic() {
    type E = Either<Linear, Wrapper<Linear>>;
    assert_model(&E::Left(linear(1)), &[""]);
    let right = E::Right { inner: Wrapper { inner: linear(1) }, act: Activation::Relu };
    assert_model(&right, &["inner.inner"]);
    assert_model(&E::Neither, &[]);
    assert!(E::LEAVES.to_string().contains("Left: Linear"));
}

mod layers {
    pub(super) type Item = candle_nn::Linear;
}

/// Neither `layers::Item` nor the `Item` of `Iterator` is the parameter, which need be no layer.
#[derive(Freezable)]
struct Lookalike<Item> {
    tag: PhantomData<Item>,
    path: Vec<(layers::Item, Lookalike<Item>)>,
    assigned: Vec<(PhantomData<dyn Iterator<Item = u8>>, Lookalike<Item>)>,
}

#[test]
fn words_that_look_like_a_parameter_are_none() {
    let inner = || Lookalike::<Marker> { tag: PhantomData, path: vec![], assigned: vec![] };
    let net = Lookalike {
        path: vec![(linear(1), inner())],
        assigned: vec![(PhantomData, inner())],
        ..inner()
    };
    assert_model(&net, &["path.0.0"]);
}

/// A function over any model: the layout of a parameter in const context.
fn half<M: Freezable>() -> usize {
    const { M::LEAVES.len() }.unwrap_or(0) / 2
}

#[test]
fn layouts_are_constants_of_parameters_too() {
    assert_eq!(half::<Sized2<4, true>>(), 6);
    assert_eq!(half::<Vec<Linear>>(), 0);
}
