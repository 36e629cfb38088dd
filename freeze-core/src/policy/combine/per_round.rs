//! At most a share of what is left freezes in a round: PipeTransformer's cap.

use std::collections::BTreeSet;

use super::overrule::overrule;
use super::rounds::Rounds;
use super::ruled::{Asked, Rule};
use super::share::at_least;
use crate::error::Result;
use crate::policy::{Decision, Elapsed, Policy};

/// In each round, which is each point at which the policy is due, at most this share of the leaves that
/// still train is frozen, rounded up; those nearest to the front first:
///
/// ```text
/// frozen(T) = min(frozen(T-1) + ceil(share * (leaves - frozen(T-1))), what the policy freezes)
/// ```
///
/// Source: PipeTransformer, arXiv:2102.03161, whose share is 1/3.
#[derive(Clone, Debug)]
pub struct PerRound {
    share: f64,
    held: Held,
}

/// The leaves that this rule has let freeze, and when it was last asked.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    frozen: BTreeSet<usize>,
    asked: Rounds,
    /// How many leaves could freeze in the last round, and of how many.
    cap: (usize, usize),
}

impl PerRound {
    pub(super) fn new(share: f64) -> Self {
        Self { share, held: Held::default() }
    }
}

impl Rule for PerRound {
    type Memory = Held;

    fn begins(&self, policy: &dyn Policy, at: Elapsed) -> bool {
        self.held.asked.begins(policy, at)
    }

    fn apply(&mut self, asked: &Asked<'_>, decision: Decision) -> Result<Decision> {
        let base = asked.base.states();
        let states = decision.plan.states().iter().zip(base).enumerate();
        let froze = states.filter(|(_, (state, base))| state.is_frozen() && !base.is_frozen());
        let wanted: BTreeSet<usize> = froze.map(|(leaf, _)| leaf).collect();
        self.held.asked.note(asked.at);
        if asked.begins {
            self.held.frozen.retain(|leaf| wanted.contains(leaf));
            let trained = base.iter().filter(|state| !state.is_frozen()).count();
            let left = trained - self.held.frozen.len();
            self.held.cap = (at_least(self.share, left), left);
            let new: Vec<usize> = wanted.difference(&self.held.frozen).copied().collect();
            self.held.frozen.extend(new.into_iter().take(self.held.cap.0));
        }
        let (cap, left) = self.held.cap;
        let text = format!("trains: {cap} of {left} leaves may freeze in one round");
        let refused = wanted.difference(&self.held.frozen);
        let refused =
            refused.filter_map(|&leaf| Some((leaf, (*base.get(leaf)?, Some(text.clone())))));
        overrule(decision, refused.collect())
    }

    fn describe(&self, of: &str) -> String {
        format!("at-most-per-round(share={}, of={of})", self.share)
    }

    fn memory(&self) -> Held {
        self.held.clone()
    }

    fn remember(&mut self, memory: Held) {
        self.held = memory;
    }
}
