//! What a plan begins as.

use std::sync::Arc;

use super::{FreezePlan, LeafState};
use crate::{Declared, Freezable, Result};

impl FreezePlan {
    /// Every leaf of `model` as its type [declares](Declared) it: what is said to be `frozen` is,
    /// the rest trains at the declared share of the learning rate.
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt, or declared shares multiply to what is not finite.
    pub fn declared<M: Freezable>(model: &M) -> Result<Self> {
        let leaves = model.leaves()?.into_iter().map(|leaf| (leaf.path, leaf.declared));
        let (paths, declared): (Vec<String>, Vec<Declared>) = leaves.unzip();
        Self::of(paths.into(), &declared, Declared::state)
    }

    /// Every leaf of `model` trains at the full learning rate, whatever is declared.
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt.
    pub fn all_trained<M: Freezable>(model: &M) -> Result<Self> {
        Ok(Self::declared(model)?.all(LeafState::TRAINED))
    }

    /// The first `n` leaves of `model` are frozen but those declared `always`, the rest is as
    /// declared.
    ///
    /// # Errors
    ///
    /// `n` is larger than the number of leaves.
    pub fn upto<M: Freezable>(model: &M, n: usize) -> Result<Self> {
        let mut plan = Self::declared(model)?;
        plan.freeze_upto(n)?;
        Ok(plan)
    }

    /// The same leaves, all in one state.
    pub(crate) fn all(&self, state: LeafState) -> Self {
        Self { states: vec![state; self.len()], ..self.clone() }
    }

    /// The leaves at `paths`, each in the state that `state` makes of its declaration.
    pub(crate) fn of(
        paths: Arc<[String]>,
        declared: &[Declared],
        state: impl Fn(&Declared) -> LeafState,
    ) -> Result<Self> {
        let states: Vec<LeafState> = declared.iter().map(state).collect();
        states.iter().try_for_each(|state| state.check())?;
        Ok(Self { paths, always: declared.iter().map(Declared::is_always).collect(), states })
    }
}
