//! What the derive asks about generic types that may hold themselves. Not for use by hand.
//!
//! A call picks the first of several impls whose conditions hold, by the number of references in
//! front of its type. The first answer, whether a field's type is `Freezable` by itself, reaches the
//! second question behind `impl Sized`, through which the compiler sees `Send` alone.

use std::marker::PhantomData;

use crate::model::Freezable;

/// One question, answered by the impl that applies.
pub trait Ask {
    /// What the answer is.
    type Answer;

    /// The answer.
    fn __freeze_ask(&self) -> Self::Answer;
}

/// Is `T` freezable by itself?
#[derive(Debug)]
pub struct Alone<T>(PhantomData<T>);

impl<T> Alone<T> {
    /// The question.
    pub const NEW: Self = Self(PhantomData);
}

/// Not as far as is known; not `Send`.
#[derive(Debug)]
pub struct Unknown(PhantomData<*const ()>);

impl<T: Freezable> Ask for &Alone<T> {
    type Answer = ();

    fn __freeze_ask(&self) {}
}

impl<T> Ask for Alone<T> {
    type Answer = Unknown;

    fn __freeze_ask(&self) -> Unknown {
        Unknown(PhantomData)
    }
}

/// Is `T` freezable only now that the type that holds it is taken to be?
#[derive(Debug)]
pub struct Within<A, T>(PhantomData<(A, T)>);

impl<A, T> Within<A, T> {
    /// The question, with the answer to that about `T` alone.
    pub fn new(_: A) -> Self {
        Self(PhantomData)
    }
}

/// `T` asks for nothing that leads back.
#[derive(Debug)]
pub struct Straight;

impl Straight {
    /// Nothing to say.
    pub fn pass<T>(self) {}
}

/// `T` leads back to the type that holds it.
#[derive(Debug)]
pub struct Circle;

impl Circle {
    /// An error, by its bound.
    pub fn pass<T: Straightforward>(self) {}
}

/// A field's type that does not lead back to the type that is derived. No type has this trait: it is
/// asked for where the answer is known to be no.
#[diagnostic::on_unimplemented(
    message = "`{Self}` leads back to the type that holds it, so the bounds of the impl cannot be inferred",
    label = "holds the derived type again, by another name or within another type",
    note = "say what the parameters must be, on each of the types that hold each other: `#[freeze(bound = \"T: freeze_core::Freezable\")]`",
    note = "a type that names itself, as in `Vec<Tree<T>>` or `Box<Self>`, needs no `bound`"
)]
pub trait Straightforward {}

impl<A: Send, T> Ask for &&Within<A, T> {
    type Answer = Straight;

    fn __freeze_ask(&self) -> Straight {
        Straight
    }
}

impl<A, T: Freezable> Ask for &Within<A, T> {
    type Answer = Circle;

    fn __freeze_ask(&self) -> Circle {
        Circle
    }
}

impl<A, T> Ask for Within<A, T> {
    type Answer = Straight;

    fn __freeze_ask(&self) -> Straight {
        Straight
    }
}
