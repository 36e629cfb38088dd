//! Costs with given numbers, and runs in which steps show given drops of the loss.

use freeze_core::forecast::{Calibration, Forecast};
use freeze_core::policy::{Budget, BudgetSettings, By, Moment, Needs, Observation, Seen, Settings};
use freeze_core::{Decision, Elapsed, FreezePlan, LeafState, Policy};
use serde_json::{Value, json};

/// What one leaf costs: milliseconds of forward, input gradient and weight gradient, bytes of its
/// output and of its variable.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub forward: u64,
    pub input: u64,
    pub weight: u64,
    pub output: usize,
    pub bytes: usize,
}

/// What every leaf costs where a test does not care.
pub const EVEN: Cost = Cost { forward: 10, input: 10, weight: 10, output: 100, bytes: 50 };

/// The time to update all variables, in milliseconds.
pub const UPDATE: u64 = 4;

/// A model of leaves named `0`, `1`, .., each with one operation; those in `unknown` are not recorded.
/// Its optimizer keeps two numbers for each.
pub fn costs(leaves: &[Cost], unknown: &[usize]) -> Calibration {
    let ms = |ms: u64| json!({"secs": ms / 1000, "nanos": ms % 1000 * 1_000_000});
    let known = |leaf: &usize| !unknown.contains(leaf);
    let call = |leaf: usize| {
        let of = leaves[leaf];
        json!({
            "leaves": [leaf],
            "shown_in": leaf,
            "input_tracked": true,
            "flops": {"forward": 0, "input": 0, "weight": 0},
            "moved": 0,
            "output": of.output,
            "forward": ms(of.forward),
            "frozen_forward": ms(of.forward),
            "input": ms(of.input),
            "weight": ms(of.weight),
            "both": ms(of.input + of.weight),
        })
    };
    let all = || 0..leaves.len();
    let leaf = |leaf| json!({"path": path(leaf), "kind": "Linear", "known": known(&leaf)});
    let var = |leaf: usize| json!([leaves[leaf].bytes, [leaf]]);
    let saved = json!({
        "leaves": all().map(leaf).collect::<Vec<Value>>(),
        "calls": all().filter(known).map(call).collect::<Vec<Value>>(),
        "vars": all().map(var).collect::<Vec<Value>>(),
        "template": plan(leaves.len()),
        "heads": {"forward": ms(0), "backward": ms(0)},
        "update": ms(UPDATE),
        "moments": 2,
    });
    serde_json::from_value(saved).expect("a calibration")
}

fn path(leaf: usize) -> String {
    leaf.to_string()
}

/// A plan of so many leaves that trains all of them.
pub fn plan(leaves: usize) -> FreezePlan {
    declared(leaves, &[])
}

/// As [`plan`], with some leaves declared `always`.
pub fn declared(leaves: usize, always: &[usize]) -> FreezePlan {
    let states: Vec<(String, LeafState)> =
        (0..leaves).map(|leaf| (path(leaf), LeafState::TRAINED)).collect();
    let always: Vec<String> = always.iter().map(|&leaf| path(leaf)).collect();
    serde_json::from_value(json!({"leaves": states, "always": always})).expect("a plan")
}

/// By leaves, with half of the time.
pub fn settings() -> BudgetSettings {
    BudgetSettings { by: By::Leaf, ..Default::default() }
}

pub fn budget(settings: BudgetSettings, costs: &Calibration) -> Budget {
    settings.policy().expect("a policy").calibrated(costs.clone())
}

/// The leaves that a plan trains.
pub fn trained(plan: &FreezePlan) -> Vec<usize> {
    (0..plan.len()).filter(|&leaf| plan.state(leaf).is_some_and(|s| !s.is_frozen())).collect()
}

pub fn bytes(forecast: &Forecast) -> usize {
    forecast.gradient_bytes + forecast.state_bytes + forecast.activation_bytes
}

/// A run in one epoch of so many steps, in which a step shows of each trained leaf the given drop.
pub struct Script<'a> {
    pub base: &'a FreezePlan,
    pub steps: usize,
    pub drop: &'a dyn Fn(usize, usize) -> f64,
}

impl Script<'_> {
    pub fn at(&self, step: usize) -> Elapsed {
        Elapsed::new(usize::from(step == self.steps), 1).at_step(step, self.steps)
    }

    /// What the policy decides at the start, by the steps that are completed.
    pub fn begin(&self, policy: &mut Budget) -> freeze_core::Result<Decision> {
        assert!(policy.is_due(self.at(0), Moment::Start));
        policy.decide(self.at(0), self.base)
    }

    /// The step after `step` with this plan, and what the policy decides then, if it is due.
    pub fn step(
        &self,
        policy: &mut Budget,
        step: usize,
        plan: &FreezePlan,
    ) -> freeze_core::Result<Option<Decision>> {
        let (before, after) = (self.at(step), self.at(step + 1));
        if policy.needs(before).contains(Needs::LOSS_DROP) {
            policy.observe(&self.shown(step, plan))?;
        }
        let moment = if step + 1 == self.steps { Moment::Epoch } else { Moment::Step };
        match policy.is_due(after, moment) {
            true => policy.decide(after, self.base).map(Some),
            false => Ok(None),
        }
    }

    /// What the step after `step` shows.
    pub fn shown(&self, step: usize, plan: &FreezePlan) -> Observation {
        let seen = |leaf| Seen::new(leaf, path(leaf), 1).loss_drop((self.drop)(step, leaf));
        let seen = trained(plan).into_iter().map(seen);
        seen.fold(Observation::after_step(self.at(step + 1), 1.0), Observation::tensor)
    }

    /// Every decision with its step; `between` is called after each step.
    pub fn run(
        &self,
        policy: &mut Budget,
        mut between: impl FnMut(usize, &mut Budget),
    ) -> Vec<(usize, Decision)> {
        let mut decisions = vec![(0, self.begin(policy).expect("a plan at the start"))];
        for step in 0..self.steps {
            let plan = decisions.last().expect("a decision").1.plan.clone();
            let decided = self.step(policy, step, &plan).expect("a step");
            decisions.extend(decided.map(|decision| (step + 1, decision)));
            between(step + 1, policy);
        }
        decisions
    }
}
