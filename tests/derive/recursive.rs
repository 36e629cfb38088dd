//! Types that hold themselves.

use candle_nn::Linear;
use freeze_core::Freezable;

use super::common::{assert_model, linear};

#[derive(Freezable)]
struct Tree {
    value: Linear,
    children: Vec<Tree>,
}

fn tree(children: Vec<Tree>) -> Tree {
    Tree { value: linear(1), children }
}

#[test]
fn a_tree_is_walked_from_the_front() {
    let tree = tree(vec![tree(vec![tree(vec![])]), tree(vec![])]);
    let expected = ["value", "children.0.value", "children.0.children.0.value", "children.1.value"];
    assert_model(&tree, &expected);
    assert_eq!(Tree::LEAVES.len(), None);
    assert_eq!(Tree::LEAVES.before("children"), 1);
    assert_eq!(tree.leaf_before("children.1").unwrap(), 3);
    assert_eq!(Tree::LEAVES.to_string().matches("as above").count(), 1);
}

#[derive(Freezable)]
struct List<T> {
    value: T,
    next: Option<Box<List<T>>>,
}

#[derive(Freezable)]
struct SelfNamed<T> {
    value: T,
    next: Option<Box<Self>>,
}

#[test]
fn a_generic_list_can_be_used() {
    let last = List { value: linear(1), next: None };
    let list = List { value: linear(2), next: Some(Box::new(last)) };
    assert_model(&list, &["value", "next.value"]);
    let last = SelfNamed { value: linear(1), next: None };
    assert_model(
        &SelfNamed { value: linear(2), next: Some(Box::new(last)) },
        &["value", "next.value"],
    );
}

#[derive(Freezable)]
struct Encoder {
    stem: Linear,
    down: Option<Box<Decoder>>,
}

#[derive(Freezable)]
struct Decoder {
    up: Vec<Encoder>,
    head: Linear,
}

#[test]
fn two_types_may_hold_each_other() {
    let inner = Encoder { stem: linear(1), down: None };
    let decoder = Decoder { up: vec![inner], head: linear(2) };
    let net = Encoder { stem: linear(3), down: Some(Box::new(decoder)) };
    assert_model(&net, &["stem", "down.up.0.stem", "down.head"]);
}

#[derive(Freezable)]
enum Expr<L> {
    Leaf(L),
    Pair(Box<Expr<L>>, Box<Expr<L>>),
    Wrapped(Box<Expr<L>>),
}

#[test]
fn an_enum_may_hold_itself() {
    let leaf = |seed| Box::new(Expr::Leaf(linear(seed)));
    let pair = Expr::Pair(leaf(1), Box::new(Expr::Wrapped(leaf(2))));
    assert_model(&Expr::Pair(Box::new(pair), leaf(3)), &["0.0", "0.1", "1"]);
    assert_eq!(Expr::<Linear>::LEAVES.len(), None);
    assert!(Expr::<Linear>::LEAVES.to_string().contains("Expr (as above)"));
}

#[derive(Freezable)]
#[freeze(unit)]
struct Whole {
    value: Linear,
    rest: Vec<Whole>,
}

#[test]
fn a_recursive_unit_is_one_leaf() {
    let leaf = || Whole { value: linear(1), rest: vec![] };
    assert_model(&Whole { value: linear(2), rest: vec![leaf(), leaf()] }, &[""]);
    assert_eq!(Whole::LEAVES.len(), Some(1));
}

trait Family {
    type Layer;
}

/// Not `Freezable` itself.
struct Dense;

impl Family for Dense {
    type Layer = Linear;
}

#[derive(Freezable)]
struct Chain<F: Family> {
    layer: F::Layer,
    next: Option<Box<Chain<F>>>,
}

#[derive(Freezable)]
struct Swap<A, B> {
    first: A,
    next: Option<Box<Swap<B, A>>>,
    both: Vec<(B, Swap<A, B>)>,
}

#[test]
fn a_recursive_field_asks_no_more_of_a_parameter_than_it_must() {
    let last = Chain::<Dense> { layer: linear(1), next: None };
    let chain = Chain { layer: linear(2), next: Some(Box::new(last)) };
    assert_model(&chain, &["layer", "next.layer"]);

    let swap = Swap {
        first: linear(1),
        next: Some(Box::new(Swap { first: [linear(2)], next: None, both: vec![] })),
        both: vec![([linear(3)], Swap { first: linear(4), next: None, both: vec![] })],
    };
    assert_model(&swap, &["first", "next.first.0", "both.0.0.0", "both.0.1.first"]);
}

mod other {
    use freeze_core::Freezable;

    /// Another type of the same name, with a condition of its own.
    #[derive(Freezable)]
    pub(super) struct Block<L>(pub(super) Vec<L>);
}

#[derive(Freezable)]
struct Block<L> {
    own: L,
    other: other::Block<L>,
    next: Option<Box<Block<L>>>,
    both: Vec<(other::Block<L>, Block<L>)>,
}

#[test]
fn another_type_of_the_same_name_is_another_type() {
    let block =
        |next, both| Block { own: linear(1), other: other::Block(vec![linear(2)]), next, both };
    let last = block(None, vec![]);
    let both = vec![(other::Block(vec![linear(3)]), block(None, vec![]))];
    let expected = [
        "own",
        "other.0.0",
        "next.own",
        "next.other.0.0",
        "both.0.0.0.0",
        "both.0.1.own",
        "both.0.1.other.0.0",
    ];
    assert_model(&block(Some(Box::new(last)), both), &expected);
}

type Alias<T> = Aliased<T>;

#[derive(Freezable)]
#[freeze(bound = "T: Freezable")]
struct Aliased<T> {
    value: T,
    rest: Vec<Alias<T>>,
}

#[test]
fn recursion_by_an_alias_is_given_its_bound() {
    let last = Aliased { value: linear(1), rest: vec![] };
    assert_model(&Aliased { value: linear(2), rest: vec![last] }, &["value", "rest.0.value"]);
}
