//! A budget's plans with their reasons and metrics.

use super::problem::{Choice, Problem};
use crate::error::Result;
use crate::forecast::Price;
use crate::plan::{FreezePlan, LeafState};
use crate::policy::Decision;

/// What is decided about, to put it into words.
pub(super) struct Told<'a> {
    pub(super) problem: &'a Problem<'a>,
    pub(super) base: &'a FreezePlan,
}

impl Told<'_> {
    /// The plan that trains these units to look at them, in one of several rounds.
    pub(super) fn looking(&self, units: &[usize], round: usize, rounds: usize) -> Result<Decision> {
        let states = self.problem.states(units);
        let price = self.problem.price(&states);
        let turn = match rounds {
            1 => "all are looked at".to_string(),
            _ => format!("round {} of {rounds} looks at others", round + 1),
        };
        let text = |unit: usize| match units.contains(&unit) {
            true => format!("thawed: what it does for the loss is looked at, {}", self.of(price)),
            false => format!("froze: {turn}"),
        };
        self.decision(&states, price, text)
    }

    /// The plan that trains what was chosen.
    pub(super) fn choosing(&self, choice: &Choice, values: &[f64]) -> Result<Decision> {
        let states = self.problem.states(&choice.units);
        let chosen = self.of(choice.price);
        let text = |unit: usize| {
            let value = values.get(unit).copied().unwrap_or_default();
            let turned = if choice.units.contains(&unit) { "thawed" } else { "froze" };
            format!("{turned}: it lowers the loss by {value:.3} of what the best does, {chosen}")
        };
        let decision = self.decision(&states, choice.price, text)?;
        let sum: f64 = values.iter().filter(|value| **value > 0.0).sum();
        let got: f64 = choice.units.iter().filter_map(|&unit| values.get(unit)).sum();
        let decision = decision.metric("budget/gap", choice.gap);
        Ok(match sum > 0.0 {
            true => decision.metric("budget/importance", got / sum),
            false => decision,
        })
    }

    fn decision(
        &self,
        states: &[LeafState],
        price: Price,
        text: impl Fn(usize) -> String,
    ) -> Result<Decision> {
        let mut plan = self.base.clone();
        for (leaf, &state) in states.iter().enumerate() {
            plan.set(leaf, state)?;
        }
        let mut decision = Decision::new(plan);
        for (unit, of) in self.problem.units.list.iter().enumerate() {
            let text = text(unit);
            for path in of.leaves.iter().filter_map(|&leaf| self.base.paths().get(leaf)) {
                decision = decision.because(path, text.clone());
            }
        }
        let share = self.problem.share(price.time);
        Ok(decision.metric("budget/step_ratio", share).metric("budget/bytes", price.bytes as f64))
    }

    /// What a step costs, and what it may, as the end of a sentence.
    fn of(&self, price: Price) -> String {
        let (share, bytes) = (self.problem.share(price.time), price.bytes);
        let limits = self.problem.limits();
        format!("a step takes the share {share:.4} and {bytes} bytes of {limits}")
    }
}
