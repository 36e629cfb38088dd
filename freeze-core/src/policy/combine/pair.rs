//! Of two policies, the one that freezes less or more.

use std::collections::HashSet;

use serde_json::Value;

use super::memory::Saved;
use super::overrule::uncounted;
use crate::error::Result;
use crate::plan::{FreezePlan, LeafState};
use crate::policy::{Decision, Elapsed, Moment, Needs, Observation, Policy, Reason};

/// Two policies, of which each leaf follows the one that trains it more, or less. Of two frozen prefixes
/// that is the shorter, or the longer.
#[derive(Debug)]
pub struct Pair<A, B> {
    first: A,
    second: B,
    freezes: Freezes,
}

/// Which of two states a leaf has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freezes {
    Less,
    More,
}

impl<A: Policy, B: Policy> Pair<A, B> {
    pub(super) fn new(first: A, second: B, freezes: Freezes) -> Self {
        Self { first, second, freezes }
    }
}

impl Freezes {
    /// Whether a leaf follows the first of two states.
    fn takes_first(self, first: LeafState, second: LeafState) -> bool {
        let trains = |state| match state {
            LeafState::Frozen => -1.0,
            LeafState::Trained { lr_scale } => lr_scale,
        };
        match self {
            Self::Less => trains(first) >= trains(second),
            Self::More => trains(first) <= trains(second),
        }
    }

    fn join(self, first: Decision, second: Decision) -> Result<Decision> {
        let mut joint = first.clone();
        second.plan.check_paths(first.plan.paths())?;
        let states = first.plan.states().iter().zip(second.plan.states()).enumerate();
        let mut from_first = HashSet::new();
        for (leaf, (&one, &other)) in states {
            if self.takes_first(one, other) {
                from_first.insert(leaf);
            } else {
                joint.plan.set(leaf, other)?;
            }
        }
        let paths = first.plan.paths().iter().enumerate();
        let named: HashSet<&str> =
            paths.filter(|(leaf, _)| from_first.contains(leaf)).map(|(_, path)| &**path).collect();
        let of = |why: &[Reason], first: bool| -> Vec<Reason> {
            why.iter().filter(|why| named.contains(&*why.leaf) == first).cloned().collect()
        };
        joint.why = [of(&first.why, true), of(&second.why, false)].concat();
        joint.restarts.extend(&second.restarts);
        joint.frozen_state = first.frozen_state.or(second.frozen_state);
        joint.ends_run = match self {
            Self::Less => first.ends_run && second.ends_run,
            Self::More => first.ends_run || second.ends_run,
        };
        joint.metrics.extend(second.metrics);
        joint.metrics.extend(first.metrics);
        Ok(uncounted(joint))
    }
}

impl<A: Policy, B: Policy> Policy for Pair<A, B> {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        self.first.is_due(at, moment) || self.second.is_due(at, moment)
    }

    fn needs(&self, at: Elapsed) -> Needs {
        self.first.needs(at) | self.second.needs(at)
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let before = self.first.state();
        self.first.observe(seen)?;
        let second = self.second.observe(seen);
        if second.is_err() {
            self.first.load_state(&before)?;
        }
        second
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let first = self.first.decide(at, base)?;
        self.freezes.join(first, self.second.decide(at, base)?)
    }

    fn describe(&self) -> String {
        let name = match self.freezes {
            Freezes::Less => "min",
            Freezes::More => "max",
        };
        format!("{name}({}, {})", self.first.describe(), self.second.describe())
    }

    fn state(&self) -> Value {
        Saved::of((), [&self.first as &dyn Policy, &self.second])
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let describe = self.describe();
        Saved::load(state, || describe.clone(), &mut [&mut self.first, &mut self.second])
    }
}
