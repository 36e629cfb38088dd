//! What froze stays frozen.

use std::collections::BTreeSet;

use super::overrule::overrule;
use super::ruled::{Asked, Rule};
use crate::error::Result;
use crate::plan::LeafState;
use crate::policy::Decision;

/// What a policy froze stays frozen to the end of the run.
#[derive(Clone, Debug, Default)]
pub struct Monotone {
    frozen: BTreeSet<usize>,
}

impl Rule for Monotone {
    type Memory = BTreeSet<usize>;

    fn apply(&mut self, asked: &Asked<'_>, decision: Decision) -> Result<Decision> {
        let states = decision.plan.states().iter().zip(asked.base.states()).enumerate();
        let froze = states.filter(|(_, (state, base))| state.is_frozen() && !base.is_frozen());
        self.frozen.extend(froze.map(|(leaf, _)| leaf));
        let trains = |leaf: &usize| decision.plan.state(*leaf).is_some_and(|s| !s.is_frozen());
        let stays = |leaf| (leaf, (LeafState::Frozen, Some("froze: it was frozen before".into())));
        let stay = self.frozen.iter().copied().filter(trains).map(stays).collect();
        overrule(decision, stay)
    }

    fn describe(&self, of: &str) -> String {
        format!("monotone(of={of})")
    }

    fn memory(&self) -> BTreeSet<usize> {
        self.frozen.clone()
    }

    fn remember(&mut self, frozen: BTreeSet<usize>) {
        self.frozen = frozen;
    }
}
