//! Fields that hold several stages.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// A list whose items are stages, so that each stage has an index.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of stages",
    label = "written like a list, and none",
    note = "`Vec`, `VecDeque`, `Box` of a slice and arrays are lists whose items are stages",
    note = "a type of your own with such a name: rename it, or use it under an alias; it is one stage then"
)]
pub trait StageList {
    /// Read by the derive's output, so that the compiler checks the bound.
    const IS_LIST: () = ();
}

impl<T> StageList for Vec<T> {}
impl<T> StageList for VecDeque<T> {}
impl<T> StageList for Box<[T]> {}
impl<T, const N: usize> StageList for [T; N] {}
impl<L: StageList> StageList for Box<L> {}
impl<L: StageList> StageList for Rc<L> {}
impl<L: StageList> StageList for Arc<L> {}
impl<L: StageList> StageList for Option<L> {}
