//! Leaves declared `always`.

use std::borrow::Cow;

use super::FreezePlan;

impl FreezePlan {
    /// Whether a policy may freeze the leaf at `index`: it trains, and is not declared `always`.
    pub(crate) fn may_freeze(&self, index: usize) -> bool {
        self.state(index).is_some_and(|state| !state.is_frozen()) && !self.is_always(index)
    }

    /// The states of this plan with the declarations of `model`, a plan of the same leaves.
    pub(crate) fn declared_as(&self, model: &Self) -> Self {
        let (paths, always) = (model.paths.clone(), model.always.clone());
        Self { paths, always, states: self.states.clone() }
    }

    /// This plan, but every leaf declared `always` that it freezes has its state from `base`, a
    /// plan of the same leaves. A leaf that `base` freezes stays frozen.
    pub(crate) fn keeping_always(&self, base: &Self) -> Cow<'_, Self> {
        let (always, states) = (base.always.iter(), base.states.iter());
        let frozen = self.states.iter().map(|state| state.is_frozen());
        let broken: Vec<usize> = (always.zip(states).zip(frozen).enumerate())
            .filter(|(_, ((always, base), frozen))| **always && *frozen && !base.is_frozen())
            .map(|(index, _)| index)
            .collect();
        if broken.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut kept = self.clone();
        broken.into_iter().for_each(|index| kept.states[index] = base.states[index]);
        Cow::Owned(kept)
    }
}
