//! The trait that `#[derive(Freezable)]` implements: a constant layout, and a walk that maps the
//! model or only visits it.

use candle_core::{Tensor, Var};

use crate::error::{Error, Result};
use crate::model::leaf::prefixes;
use crate::model::{Leaf, LeafTree, Mapper, Summary, View, inspect, mapped};
use crate::plan::FreezePlan;

/// A layer, or a group of layers, that can be frozen.
///
/// Derive it; an impl by hand needs only [`LEAVES`](Self::LEAVES) and
/// [`map_params`](Self::map_params). Freezing is a function of model and plan, not a mode: methods
/// that freeze return a *view*, a copy of the model that shares every tensor's storage with the
/// original and in which frozen parameters are detached. No gradient is computed for them, and no
/// graph is recorded for operations that depend only on them. A training step through a view
/// changes the original, and so does a forward pass that updates running statistics.
///
/// # What is `Freezable`
///
/// Layers: those of candle-nn and of [`nn`](crate::nn), each a leaf, and
/// [`Rebuilt`](crate::Rebuilt).
///
/// Containers of `Freezable` types: tuples of up to 12, arrays, `Vec`, `VecDeque`, `Box<[T]>` (a
/// path segment for each index), `BTreeMap<String, T>` (one for each key, in order of the keys),
/// `Option`, `Box`, `Rc`, `Arc` (no segment). A view holds a new `Arc` or `Rc`; where two point to
/// one value, its tensors stay tied in the view.
///
/// The following types without parameters, which add no leaf. Any other needs `#[freeze(skip)]`, or
/// an impl with [`LeafTree::EMPTY`](crate::LeafTree::EMPTY):
///
/// ```
/// # use std::{borrow::Cow, cmp::Ordering, ffi::OsString, marker::PhantomData, num::NonZero};
/// # use std::{ops::*, path::PathBuf, sync::Arc, time::*};
/// # use candle_core::{DType, Device, DeviceLocation, Shape};
/// # use candle_nn::{rnn::*, *};
/// # use freeze_core::{BatchNormPolicy, Freezable};
/// # use half::{bf16, f16};
/// type Plain<'a> = (
///     // integers with their `NonZero`, floats, `char`, and the ranges of all of these
///     (u8, u16, u32, u64, u128, usize),
///     (i8, i16, i32, i64, i128, isize, NonZero<usize>),
///     (f32, f64, f16, bf16, char),
///     (Range<usize>, RangeFrom<f64>, RangeTo<u8>, RangeInclusive<f32>, RangeToInclusive<char>),
///     (RangeFull, (), bool, Ordering, PhantomData<dyn Fn()>),
///     // text, paths, times
///     (String, &'a str, Arc<str>, Box<str>, Cow<'a, str>, OsString, PathBuf),
///     (Duration, Instant, SystemTime),
///     // candle's settings and activations
///     (DType, Device, DeviceLocation, Shape, Init),
///     (Activation, Dropout, ops::Identity, BatchNormPolicy),
///     (Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig),
///     (BatchNormConfig, LayerNormConfig, LSTMConfig, GRUConfig),
/// );
/// // and containers of these
/// type Settings<'a> = (Vec<usize>, Option<[f64; 2]>, std::collections::BTreeMap<String, Plain<'a>>);
/// const _: () = assert!(matches!(<Settings<'_> as Freezable>::LEAVES.len(), Some(0)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer or a group of layers that can be frozen",
    label = "not `Freezable`",
    note = "a struct or enum of layers: put `#[derive(Freezable)]` on it",
    note = "a field whose type holds no parameters: put `#[freeze(skip)]` on it",
    note = "a bare `Tensor`, `Option<Tensor>`, or a `Vec` or array of these: put `#[freeze(param)]` on it (a `Var`: hold its `Tensor`)",
    note = "a layer that hides its tensors: wrap it in `freeze_core::Rebuilt`",
    note = "a `HashMap` of layers: hold a `BTreeMap<String, _>`, which has an order; layers behind `dyn`: hold an enum of them",
    note = "a layer in a lock: hold it without, or in an `Arc` alone; a step through a view moves the original"
)]
pub trait Freezable: Sized {
    /// The ordered tree of leaf layers, as far as it is known from the type alone.
    const LEAVES: LeafTree;

    /// Whether a value can have leaves at all. If not, neither can a container of it, such as
    /// `Vec<usize>`, however long it is.
    const HAS_LEAVES: bool = true;

    /// Calls `see` with the index of every item that exists, `depth` lists deep: not at all for an
    /// `Option` without a value, and with an empty index for a value that is no list or if `depth`
    /// is 0.
    #[doc(hidden)]
    fn each_item(_: &Self, _depth: usize, index: &mut Vec<usize>, see: &mut dyn FnMut(&[usize])) {
        see(index);
    }

    /// Rebuilds the value with every parameter tensor replaced by what `mapper` returns for it, in
    /// declaration order.
    ///
    /// # Errors
    ///
    /// Whatever the mapper's function returns, or a layer that cannot be rebuilt.
    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self>;

    /// Passes to `mapper` what [`map_params`](Self::map_params) would, in the same order, but
    /// builds nothing. All queries about a model use it.
    ///
    /// The provided method maps and drops the result, which is fine for a layer that is little more
    /// than its tensors. A layer that is costly to rebuild, or has parts, makes the same calls of
    /// `mapper` here and nothing else. The derive writes both.
    ///
    /// ```
    /// use candle_nn::Linear;
    /// use freeze_core::{Freezable, LeafTree, Mapper, Result};
    ///
    /// struct Pair<T>(T, T);
    ///
    /// impl<T: Freezable> Freezable for Pair<T> {
    ///     const LEAVES: LeafTree = LeafTree::array(&T::LEAVES, 2);
    ///
    ///     fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
    ///         Ok(Self(mapper.part("0", &self.0)?, mapper.part("1", &self.1)?))
    ///     }
    ///
    ///     fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
    ///         mapper.visit_part("0", &self.0)?;
    ///         mapper.visit_part("1", &self.1)
    ///     }
    /// }
    /// # let linear = || Linear::new(candle_core::Tensor::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap(), None);
    /// # assert_eq!(Pair(linear(), linear()).leaves()?.len(), 2);
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`map_params`](Self::map_params), except for layers that can be visited but not rebuilt.
    fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
        self.map_params(mapper).map(drop)
    }

    /// A view of the model in which the first `n` leaves are frozen, except those declared
    /// `always`, and all others are as declared.
    ///
    /// # Errors
    ///
    /// `n` is larger than the number of leaves.
    fn freeze_upto(&self, n: usize) -> Result<View<Self>> {
        let mut plan = inspect::declared(&|mapper| self.visit_params(mapper))?;
        self.view(plan.freeze_front(n)?)
    }

    /// A view of the model under `plan`: same storage, frozen tensors detached.
    ///
    /// # Errors
    ///
    /// The plan was made for another model.
    fn view(&self, plan: &FreezePlan) -> Result<View<Self>> {
        let map = |mapper: &mut Mapper<'_>| self.map_params(mapper);
        Ok(View::new(mapped::view(plan, Default::default(), map)?))
    }

    /// Every leaf in order: index, path, kind and parameters.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn leaves(&self) -> Result<Vec<Leaf>> {
        inspect::leaves(&|mapper| self.visit_params(mapper))
    }

    /// Every trainable variable once, in the order of the leaves; buffers are not among them.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn vars(&self) -> Result<Vec<Var>> {
        Ok(self.named_vars()?.into_iter().map(|(_, var)| var).collect())
    }

    /// As [`vars`](Self::vars), each with its full name, such as `blocks.3.conv1.weight`.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn named_vars(&self) -> Result<Vec<(String, Var)>> {
        inspect::named_vars(&|mapper| self.visit_params(mapper))
    }

    /// Every tensor, parameters and buffers, with its full name, in the order of the leaves. A tied
    /// tensor is listed under each of its names.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn named_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        inspect::named_tensors(&|mapper| self.visit_params(mapper))
    }

    /// The number of leaves in front of the leaf or group at `path`: `freeze_upto` of it freezes
    /// all that is declared before `path`.
    ///
    /// # Errors
    ///
    /// There is nothing at `path`; similar names are listed.
    fn leaf_before(&self, path: &str) -> Result<usize> {
        let leaves = self.leaves()?;
        leaves.iter().position(|leaf| leaf.is_at_or_below(path)).ok_or_else(|| Error::Path {
            path: path.to_string(),
            near: crate::error::near(path, prefixes(&leaves)),
        })
    }

    /// Turns plain floating-point tensors, such as those of a safetensors file, into variables that
    /// can train. Buffers and tensors that are already variables stay as they are; tied tensors
    /// stay tied, also where a view detached one of them and left the other a variable. Each new variable is a copy,
    /// because candle offers no other way.
    ///
    /// # Errors
    ///
    /// candle could not copy a tensor.
    fn into_trainable(self) -> Result<Self> {
        let walk = |mapper: &mut Mapper<'_>| self.visit_params(mapper);
        mapped::into_trainable(|_| true, &walk, |mapper| self.map_params(mapper))
    }

    /// As [`into_trainable`](Self::into_trainable), but only for the leaves whose paths `pattern`
    /// matches, such as `head.**`. A tensor elsewhere that is tied to one of theirs becomes the
    /// same variable.
    ///
    /// # Errors
    ///
    /// The pattern matches no leaf or cannot be read, or candle could not copy a tensor.
    fn into_trainable_matching(self, pattern: &str) -> Result<Self> {
        let walk = |mapper: &mut Mapper<'_>| self.visit_params(mapper);
        let wanted = inspect::matched(&walk, pattern)?;
        mapped::into_trainable(|of| wanted.contains(of), &walk, |mapper| self.map_params(mapper))
    }

    /// A printable table of the leaves: kind, shapes, number of parameters, trained or frozen as
    /// declared.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn summary(&self) -> Result<Summary> {
        let plan = inspect::declared(&|mapper| self.visit_params(mapper))?;
        Ok(Summary::new(self.leaves()?, plan.states()))
    }
}
