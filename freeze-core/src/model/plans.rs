//! Plans made from a model.

use crate::error::Result;
use crate::model::{Freezable, inspect};
use crate::plan::{FreezePlan, LeafState};

impl FreezePlan {
    /// Every leaf of `model` as its type [declares](crate::Declared) it: frozen if declared
    /// `frozen`, otherwise trained at the declared share of the learning rate.
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt, or the product of declared shares is not finite.
    pub fn declared<M: Freezable>(model: &M) -> Result<Self> {
        inspect::declared(&|mapper| model.visit_params(mapper))
    }

    /// Every leaf of `model` trains at the full learning rate, whatever is declared.
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt.
    pub fn all_trained<M: Freezable>(model: &M) -> Result<Self> {
        Ok(Self::declared(model)?.all(LeafState::TRAINED))
    }

    /// The first `n` leaves of `model` are frozen, except those declared `always`; all others are
    /// as declared.
    ///
    /// # Errors
    ///
    /// `n` is larger than the number of leaves.
    pub fn front_frozen<M: Freezable>(model: &M, n: usize) -> Result<Self> {
        let mut plan = Self::declared(model)?;
        plan.freeze_front(n)?;
        Ok(plan)
    }
}
