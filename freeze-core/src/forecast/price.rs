//! What a step costs under a plan, as far as a budget limits it.

use std::ops::Add;
use std::time::Duration;

use super::Calibration;
use super::costs::{any_trained, trained_bytes};
use crate::error::Result;
use crate::plan::{FreezePlan, LeafState};

/// The time of a step, and its bytes: those of gradients, optimizer state and kept activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
}

/// What becomes of the forward in front of the first trained operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// It runs in every step.
    Computed,
    /// Its result is read from a cache, which is taken to need no time.
    Cached,
}

impl Add for Price {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { time: self.time + other.time, bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl Calibration {
    /// An error if `plan` was made for another model.
    pub(crate) fn check_plan(&self, plan: &FreezePlan) -> Result<()> {
        plan.check_paths(self.template.paths())
    }

    /// What a step costs in which the leaves with these states train.
    pub(crate) fn price(&self, states: &[LeafState], front: Front) -> Price {
        let first = self.first_call(states).unwrap_or(self.calls.len());
        let cached = match front {
            Front::Computed => Duration::ZERO,
            Front::Cached => self.calls.iter().take(first).map(|call| call.frozen_forward).sum(),
        };
        let trained = trained_bytes(&self.vars, states);
        let held = trained.saturating_mul(self.moments.saturating_add(1));
        Price {
            time: self.step_time(states).saturating_sub(cached),
            bytes: held.saturating_add(self.activation_bytes(states)),
        }
    }

    /// What `leaves` add at most to the price under `states` if they train too and the first trained
    /// operation stays the first: the gradients of their weights, which never count as less than
    /// nothing, their update and what is kept for it. Leaves that share a variable each pay for it.
    pub(crate) fn adds(&self, states: &[LeafState], leaves: &[usize]) -> Price {
        let is_new = |held: &[usize]| {
            held.iter().any(|leaf| leaves.contains(leaf)) && !any_trained(held, states)
        };
        let calls = self.calls.iter().filter(|call| is_new(&call.leaves));
        let weights: Duration = calls.map(|call| call.both.saturating_sub(call.input)).sum();
        let vars = self.vars.iter().filter(|(_, held)| is_new(held));
        let bytes: usize = vars.map(|(bytes, _)| bytes).sum();
        let all: usize = self.vars.iter().map(|(bytes, _)| bytes).sum();
        let update = (self.update.as_nanos() * bytes as u128).div_ceil(all.max(1) as u128);
        Price {
            time: weights + Duration::from_nanos(u64::try_from(update).unwrap_or(u64::MAX)),
            bytes: bytes.saturating_mul(self.moments.saturating_add(1)),
        }
    }

    /// Where the first operation stands, in the order of execution, that any of `leaves` has a weight
    /// in; `None` if none is recorded.
    pub(crate) fn first_call_of(&self, leaves: &[usize]) -> Option<usize> {
        self.calls.iter().position(|call| call.leaves.iter().any(|leaf| leaves.contains(leaf)))
    }

    /// Whether the leaf at `index` has a variable.
    pub(crate) fn has_variables(&self, index: usize) -> bool {
        self.vars.iter().any(|(_, leaves)| leaves.contains(&index))
    }

    /// Whether the operations of the leaf at `index` are recorded.
    pub(crate) fn is_recorded(&self, index: usize) -> bool {
        self.leaves.get(index).is_some_and(|leaf| leaf.known)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{given, ms, plan};
    use super::*;

    #[test]
    fn a_price_is_the_forecasts_and_a_cached_front_takes_no_time() {
        let costs = given();
        // What is frozen, and the forward of the operations in front of the first trained one.
        let rows: [(&[usize], u64); 5] =
            [(&[], 0), (&[0], 1), (&[0, 1], 3), (&[1, 2], 0), (&[0, 1, 2, 3], 5)];
        for (frozen, front) in rows {
            let plan = plan(&costs, frozen);
            let forecast = costs.forecast(&plan).expect("a forecast");
            let price = costs.price(plan.states(), Front::Computed);
            assert_eq!(price.time, costs.step_time(plan.states()), "{frozen:?}");
            let bytes = forecast.gradient_bytes + forecast.state_bytes + forecast.activation_bytes;
            assert_eq!(price.bytes, bytes, "{frozen:?}");
            let cached = costs.price(plan.states(), Front::Cached);
            assert_eq!(cached, Price { time: price.time - ms(front), ..price }, "{frozen:?}");
        }
    }

    #[test]
    fn leaves_behind_the_first_trained_one_add_their_weights_and_their_update() {
        let costs = given();
        let front = plan(&costs, &[1, 2, 3]);
        let rows: [(&[usize], u64, usize); 5] = [
            (&[], 0, 0),
            (&[0], 0, 0),
            (&[1], 5 + 200, 3 * 200),
            (&[2], 6 + 300, 3 * 300),
            (&[0, 3, 2], 6 + 7 + 700, 3 * 700),
        ];
        for (leaves, time, bytes) in rows {
            let added = costs.adds(front.states(), leaves);
            assert_eq!(added, Price { time: ms(time), bytes }, "{leaves:?}");
            let mut with = front.clone();
            for &leaf in leaves {
                with.set(leaf, LeafState::TRAINED).expect("a leaf");
            }
            let price = costs.price(front.states(), Front::Computed) + added;
            assert_eq!(price, costs.price(with.states(), Front::Computed), "{leaves:?}");
        }
    }

    #[test]
    fn a_weights_gradient_that_seems_to_take_no_time_adds_none() {
        let mut costs = given();
        costs.calls[1].both = ms(3);
        costs.vars[1].1 = vec![1, 2];
        let front = plan(&costs, &[1, 2, 3]);
        assert_eq!(costs.adds(front.states(), &[1]).time, ms(200));
        assert_eq!(costs.adds(front.states(), &[2]).bytes, 3 * (200 + 300), "both pay");
    }
}
