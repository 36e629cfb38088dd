//! Used by the derive for generic types that may contain themselves. Not for use by hand.
//!
//! A method call picks the first of several impls whose bounds hold, by the number of references in
//! front of its type (autoref specialization). The first answer, whether a field's type is
//! `Freezable` by itself, is passed to the second question as `impl Sized`, through which the
//! compiler sees only whether it is `Send`.

use std::marker::PhantomData;

use crate::model::Freezable;

/// One question, answered by the impl that applies.
pub trait Ask {
    /// The type that encodes the answer.
    type Answer;

    /// The answer.
    fn __freeze_ask(&self) -> Self::Answer;
}

/// The question whether `T` is freezable by itself.
#[derive(Debug)]
pub struct Alone<T>(PhantomData<T>);

impl<T> Alone<T> {
    /// The question.
    pub const NEW: Self = Self(PhantomData);
}

/// The answer "not known to be"; it is not `Send`.
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

/// The question whether `T` is freezable only if the type that holds it is.
#[derive(Debug)]
pub struct Within<A, T>(PhantomData<(A, T)>);

impl<A, T> Within<A, T> {
    /// The question, given the answer of [`Alone`].
    pub fn new(_: A) -> Self {
        Self(PhantomData)
    }
}

/// The answer that `T` does not lead back to the type that holds it.
#[derive(Debug)]
pub struct Straight;

impl Straight {
    /// Does nothing: no error.
    pub fn pass<T>(self) {}
}

/// The answer that `T` leads back to the type that holds it.
#[derive(Debug)]
pub struct Circle;

impl Circle {
    /// A compile error, because the bound does not hold.
    pub fn pass<T: Straightforward>(self) {}
}

/// A field's type that does not lead back to the type that is derived. No type implements this
/// trait: it is required only where the answer is known to be no, for its error message.
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
