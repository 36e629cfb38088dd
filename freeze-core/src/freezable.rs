//! The trait that `#[derive(Freezable)]` implements: a constant layout and one primitive.

use candle_core::{Tensor, Var};

use crate::{Error, FreezePlan, Layout, Leaf, LeafState, Mapper, Result, Summary, View, inspect};

/// A layer, or a group of layers, whose front can be frozen.
///
/// Derive it. Everything but [`LAYOUT`](Self::LAYOUT) and [`map_params`](Self::map_params) is
/// provided. Freezing is a function of model and plan, not a mode: methods that freeze return a
/// *view*, a copy of the model that shares every tensor's storage with the original and in which
/// frozen parameters are detached, so that no gradient is computed for them and no graph is recorded
/// for what depends on them alone. A training step through a view moves the original, and so does a
/// forward pass that moves running statistics.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer or a group of layers that can be frozen",
    label = "not `Freezable`",
    note = "a struct or enum of layers: put `#[derive(Freezable)]` on it",
    note = "a field that holds no parameters: put `#[freeze(skip)]` on it",
    note = "a bare `Tensor`, `Option<Tensor>` or `Vec<Tensor>`: put `#[freeze(param)]` on it (a `Var`: hold its `Tensor`)",
    note = "a layer that hides its tensors: wrap it in `freeze_core::Rebuilt`"
)]
pub trait Freezable: Sized {
    /// The ordered tree of leaf layers, as far as the type alone decides it.
    const LAYOUT: Layout;

    /// Rebuilds the value with every parameter tensor replaced by what `mapper` makes of it, in
    /// declaration order.
    ///
    /// # Errors
    ///
    /// Whatever the mapper's function returns, or a layer that cannot be rebuilt.
    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self>;

    /// A view of the model in which the first `n` leaves are frozen.
    ///
    /// # Errors
    ///
    /// `n` is larger than the number of leaves.
    fn freeze_upto(&self, n: usize) -> Result<View<Self>> {
        self.view(&FreezePlan::upto(self, n)?)
    }

    /// The model as `plan` has it: same storage, frozen tensors detached.
    ///
    /// # Errors
    ///
    /// The plan was made for another model.
    fn view(&self, plan: &FreezePlan) -> Result<View<Self>> {
        Ok(View::new(inspect::view(self, plan, Default::default())?))
    }

    /// Every leaf in order: index, path, kind and parameters.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn leaves(&self) -> Result<Vec<Leaf>> {
        inspect::leaves(self)
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
        inspect::named_vars(self)
    }

    /// Every tensor, parameters and buffers, with its full name, in the order of the leaves. A tied
    /// tensor is listed under each of its names.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn named_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        inspect::named_tensors(self)
    }

    /// The number of leaves in front of the leaf or group at `path`: `freeze_upto` of it freezes
    /// all that is declared before `path`.
    ///
    /// # Errors
    ///
    /// Nothing lies at `path`; the near names are listed.
    fn leaf_before(&self, path: &str) -> Result<usize> {
        let leaves = self.leaves()?;
        leaves.iter().position(|leaf| leaf.is_at_or_below(path)).ok_or_else(|| Error::Path {
            path: path.to_string(),
            near: crate::error::near(path, inspect::prefixes(&leaves)),
        })
    }

    /// Turns plain floating-point tensors, such as those of a safetensors file, into variables that
    /// can train. Tensors that are variables already, and buffers, stay as they are; tied tensors
    /// stay tied. Each new variable is a copy: candle has no other way.
    ///
    /// # Errors
    ///
    /// candle could not copy a tensor.
    fn into_trainable(self) -> Result<Self> {
        inspect::into_trainable(&self)
    }

    /// A printable table of the leaves: kind, shapes, number of parameters, trained or frozen.
    ///
    /// # Errors
    ///
    /// A layer that cannot be rebuilt.
    fn summary(&self) -> Result<Summary> {
        let leaves = self.leaves()?;
        let states = vec![LeafState::TRAINED; leaves.len()];
        Ok(Summary::new(leaves, &states))
    }
}
