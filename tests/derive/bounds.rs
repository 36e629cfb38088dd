//! `bound = ".."` and `crate = ".."`.

use std::sync::Arc;

use candle_nn::Linear;
use freeze_core::{Freezable, LeafTree, Mapper};

use super::common::{assert_model, linear};

/// A layer that many hold: it freezes if what it holds does.
struct Shared<T>(Arc<T>);

impl<T: Freezable> Freezable for Shared<T> {
    const LEAVES: LeafTree = T::LEAVES;

    fn map_params(&self, mapper: &mut Mapper<'_>) -> freeze_core::Result<Self> {
        Ok(Self(self.0.map_params(mapper)?))
    }
}

/// The inferred predicates of these two ask for each other without an end.
#[derive(Freezable)]
#[freeze(bound = "T: Freezable")]
struct Even<T> {
    value: T,
    next: Option<Box<Odd<T>>>,
}

#[derive(Freezable)]
#[freeze(bound = "T: Freezable")]
struct Odd<T> {
    value: Shared<T>,
    next: Option<Box<Even<T>>>,
}

#[test]
fn given_predicates_replace_the_inferred_ones() {
    let last = Even { value: linear(1), next: None };
    let odd = Odd { value: Shared(Arc::new(linear(2))), next: Some(Box::new(last)) };
    let even = Even { value: linear(3), next: Some(Box::new(odd)) };
    assert_model(&even, &["value", "next.value", "next.next.value"]);
}

/// No predicate at all is a choice too.
#[derive(Freezable)]
#[freeze(bound = "")]
struct Tagged<T> {
    head: Linear,
    tag: std::marker::PhantomData<T>,
}

/// Several predicates; a trailing comma is fine.
#[derive(Freezable)]
#[freeze(bound = "A: Freezable, Vec<B>: Freezable,")]
struct Both<A, B>
where
    A: Sized,
{
    a: A,
    b: Vec<B>,
}

#[test]
fn any_number_of_predicates_can_be_given() {
    assert_model(&Tagged::<u8> { head: linear(1), tag: std::marker::PhantomData }, &["head"]);
    assert_model(&Both { a: linear(1), b: vec![linear(2)] }, &["a", "b.0"]);
}

/// As a crate would that hands the library on.
pub(crate) mod facade {
    pub(crate) mod freeze {
        pub(crate) use freeze_core::*;
    }
}

#[derive(Freezable)]
#[freeze(crate = "crate::derive::bounds::facade::freeze", unit)]
struct Elsewhere<T> {
    head: T,
    #[freeze(param)]
    scale: candle_core::Tensor,
}

#[test]
fn the_library_may_have_another_path() {
    assert_model(&Elsewhere { head: linear(1), scale: super::common::var(&[1f32]) }, &[""]);
}
