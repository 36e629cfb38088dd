//! Of two policies, the one that freezes less or more.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::memory::Saved;
use super::overrule::uncounted;
use crate::error::{Error, Result};
use crate::plan::{FreezePlan, LeafState};
use crate::policy::{Decision, Elapsed, Moment, Needs, Observation, Policy, Reason};

/// Two policies, of which each leaf follows the one that trains it more, or less. Of two frozen prefixes
/// that is the shorter, or the longer.
#[derive(Debug)]
pub struct Pair<A, B> {
    first: A,
    second: B,
    freezes: Freezes,
    kept: Kept,
}

/// Which of two states a leaf has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freezes {
    Less,
    More,
}

/// Which of the quantities that count from the last look each of the policies has looked at.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Kept([(bool, bool); 3]);

/// The quantities that count from the last look.
const COUNTED: [(Needs, &str); 3] = [
    (Needs::WEIGHT_CHANGE, "change of the weights"),
    (Needs::GRADIENT_CHANGE, "change of the gradients"),
    (Needs::GRADIENT_SUM, "sum of gradients"),
];

impl Kept {
    /// After a step for which the two policies have these needs; the name of a quantity that both look
    /// at, but not now.
    fn with(mut self, first: Needs, second: Needs) -> Result<Self, &'static str> {
        for ((need, what), looked) in COUNTED.into_iter().zip(&mut self.0) {
            let now = (first.contains(need), second.contains(need));
            *looked = (looked.0 || now.0, looked.1 || now.1);
            if now.0 != now.1 && *looked == (true, true) {
                return Err(what);
            }
        }
        Ok(self)
    }
}

impl<A: Policy, B: Policy> Pair<A, B> {
    pub(super) fn new(first: A, second: B, freezes: Freezes) -> Self {
        Self { first, second, freezes, kept: Kept::default() }
    }
}

impl Freezes {
    fn name(self) -> &'static str {
        match self {
            Self::Less => "min",
            Self::More => "max",
        }
    }

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
        let at = seen.asked_at();
        let (ours, theirs) = (self.first.needs(at), self.second.needs(at));
        let kept = self.kept.with(ours, theirs).map_err(|what| {
            let why = format!(
                "both policies look at the {what}, after different steps, and it counts from the last \
                 look of either; give both the same interval, or one that looks at something else"
            );
            Error::policy(self.freezes.name(), why)
        })?;
        let before = self.first.state();
        if !ours.is_empty() {
            self.first.observe(&seen.only(ours))?;
        }
        if !theirs.is_empty()
            && let Err(error) = self.second.observe(&seen.only(theirs))
        {
            self.first.load_state(&before)?;
            return Err(error);
        }
        self.kept = kept;
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let first = self.first.decide(at, base)?;
        self.freezes.join(first, self.second.decide(at, base)?)
    }

    fn describe(&self) -> String {
        let name = self.freezes.name();
        format!("{name}({}, {})", self.first.describe(), self.second.describe())
    }

    fn state(&self) -> Value {
        Saved::of(self.kept, [&self.first as &dyn Policy, &self.second])
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let describe = self.describe();
        self.kept =
            Saved::load(state, || describe.clone(), &mut [&mut self.first, &mut self.second])?;
        Ok(())
    }
}
