//! Plans by name, recorded decisions, and runs whose observations are made up.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor, Var};
use freeze_core::policy::{Boxed, Moment, Needs, Observation, Output, Seen, from_json};
use freeze_core::{Decision, Elapsed, FreezePlan, Norms, Policy};
use serde_json::{Value, json};

/// A plan that trains leaves with these paths.
pub fn plan<S: AsRef<str>>(paths: &[S]) -> FreezePlan {
    let trained = |path: &S| json!([path.as_ref(), {"trained": {"lr_scale": 1.0}}]);
    let leaves: Vec<Value> = paths.iter().map(trained).collect();
    serde_json::from_value(json!({ "leaves": leaves })).expect("a plan")
}

/// An embedding, `blocks` blocks of two leaves, a head.
pub fn model(blocks: usize) -> FreezePlan {
    let block = |at| [format!("body.{at}.attn"), format!("body.{at}.mlp")];
    let mut paths = vec!["embed".to_string()];
    paths.extend((0..blocks).flat_map(block));
    paths.push("head".into());
    plan(&paths)
}

/// Numbered leaves.
pub fn numbered(leaves: usize) -> FreezePlan {
    plan(&(0..leaves).map(|leaf| format!("body.{leaf}")).collect::<Vec<_>>())
}

pub fn frozen(plan: &FreezePlan) -> Vec<usize> {
    (0..plan.len()).filter(|&leaf| plan.states()[leaf].is_frozen()).collect()
}

pub fn golden(name: &str) -> Value {
    let path = format!("{}/tests/data/policies/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("the file")).expect("JSON")
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All numbers of nested lists, in order.
pub fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

pub fn has_mark(value: &Value, mark: &str) -> bool {
    list(value).iter().any(|found| found == mark)
}

#[track_caller]
pub fn close(ours: f64, theirs: &Value, tolerance: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap_or_else(|| panic!("{what}: no number"));
    let distance = (ours - theirs).abs();
    assert!(distance <= tolerance * theirs.abs().max(1e-300), "{what}: {ours}, not {theirs}");
}

pub fn l1(l1: f64) -> Norms {
    Norms { l1, l2: l1 }
}

/// Every policy of the family, with settings that make it act in runs of 24 steps.
pub const POLICIES: [&str; 10] = [
    r#"{"policy": "auto-freeze", "windows": 8}"#,
    r#"{"policy": "auto-freeze", "windows": 5, "percentile": 70.0, "cap": null, "by": "leaf"}"#,
    r#"{"policy": "grad-es", "tau": 0.02, "patience": 2, "alpha": 0.2}"#,
    r#"{"policy": "grad-es", "tau": 0.5, "relative": false, "interval": 3, "max-frozen": 0.5}"#,
    r#"{"policy": "ils", "rate": 0.7, "seed": 3}"#,
    r#"{"policy": "rgn", "batches": 2, "exclude": ["embed"]}"#,
    r#"{"policy": "snr", "batches": 2}"#,
    r#"{"policy": "spectrum", "always": ["body.0.*"]}"#,
    r#"{"policy": "plasticity", "acts": {"epochs": true, "steps": 3}, "window": 2, "share": 1.0}"#,
    r#"{"policy": "plasticity", "acts": {"steps": 2}, "window": 2, "share": 1.0, "unfreeze-at": [0.6]}"#,
];

pub fn policy(settings: &str) -> Boxed {
    from_json(settings).unwrap_or_else(|error| panic!("{settings}: {error}"))
}

/// A run whose observations are made up from the step and the leaf.
#[derive(Clone)]
pub struct Script {
    pub base: FreezePlan,
    pub plan: FreezePlan,
    pub at: Elapsed,
    /// The leaves whose change can be told.
    measured: BTreeSet<usize>,
}

impl Script {
    pub fn new(base: &FreezePlan, epochs: usize, steps: usize) -> Self {
        let at = Elapsed::new(0, epochs).at_step(0, steps);
        Self { base: base.clone(), plan: base.clone(), at, measured: BTreeSet::new() }
    }

    /// The start of the run, and all its steps.
    pub fn run(&mut self, policy: &mut Boxed) -> Vec<Decision> {
        let mut decisions = self.begin(policy);
        while self.at.step < self.at.steps {
            decisions.extend(self.step(policy));
        }
        decisions
    }

    pub fn begin(&mut self, policy: &mut Boxed) -> Vec<Decision> {
        let at_start = Needs::TENSORS | Needs::OUTPUTS | Needs::COSTS;
        let needs = policy.needs(self.at).and(at_start);
        let seen = self.observation(needs, Observation::at_start(self.at));
        policy.observe(&seen).expect("finite numbers");
        self.decide(policy, Moment::Start).into_iter().collect()
    }

    pub fn step(&mut self, policy: &mut Boxed) -> Option<Decision> {
        let needs = policy.needs(self.at);
        self.at.step += 1;
        let seen = self.observation(needs, Observation::after_step(self.at, 1.0));
        policy.observe(&seen).expect("finite numbers");
        let ends = self.at.step * self.at.epochs / self.at.steps > self.at.epoch;
        self.at.epoch += usize::from(ends);
        self.decide(policy, if ends { Moment::Epoch } else { Moment::Step })
    }

    /// Asks twice, which must not matter.
    fn decide(&mut self, policy: &mut Boxed, moment: Moment) -> Option<Decision> {
        if !policy.is_due(self.at, moment) {
            return None;
        }
        let decision = policy.decide(self.at, &self.base).expect("a decision");
        let state = policy.state();
        let again = policy.decide(self.at, &self.base).expect("a decision");
        assert_eq!((&decision, state), (&again, policy.state()), "asked twice");
        self.plan = decision.plan.clone();
        Some(decision)
    }

    fn observation(&mut self, needs: Needs, mut seen: Observation) -> Observation {
        let step = self.at.step;
        for leaf in (0..self.plan.len()).filter(|&leaf| !self.plan.states()[leaf].is_frozen()) {
            for (tensor, elements) in [("weight", 6), ("bias", 2)] {
                let name = format!("{}.{tensor}", self.plan.paths()[leaf]);
                let mut one = Seen::new(leaf, name, elements);
                let size = |salt: u64| noise(leaf as u64, step as u64, salt) / (1 + step) as f64;
                if needs.contains(Needs::GRADIENT) {
                    one = one.gradient(l1(size(1)));
                }
                if needs.contains(Needs::WEIGHT) {
                    one = one.weight(l1(1.0 + size(2)));
                }
                if needs.contains(Needs::RELATIVE_UPDATE) {
                    one = one.relative_update(size(3));
                }
                if needs.contains(Needs::WEIGHT_CHANGE) && self.measured.contains(&leaf) {
                    one = one.weight_change(l1(size(4)));
                }
                if needs.contains(Needs::GRADIENT_SUM) {
                    one = one.gradient_sum(l1(size(5)));
                }
                if needs.contains(Needs::SIGNAL_TO_NOISE) {
                    one = one.signal_to_noise(1.9 * noise(leaf as u64, step as u64, 6));
                }
                if needs.contains(Needs::TENSORS) && tensor == "weight" {
                    one =
                        one.var(Var::from_tensor(&matrix(leaf as u64, 3, 4)).expect("a variable"));
                }
                seen = seen.tensor(one);
            }
            if needs.contains(Needs::WEIGHT_CHANGE) {
                self.measured.insert(leaf);
            }
        }
        match needs.contains(Needs::OUTPUTS) {
            false => seen,
            true => seen.outputs(stages(self.base.len(), step)),
        }
    }
}

/// Outputs of three stages, that move less and less.
fn stages(leaves: usize, step: usize) -> Vec<Output> {
    let moved = |at: usize| {
        let fixed = matrix(at as u64, 4, 3);
        let part = matrix(100 + (at * 1000 + step) as u64, 4, 3);
        (fixed + (part * (0.5 / (1 + step) as f64)).expect("a product")).expect("a sum")
    };
    let ends = [leaves / 3, leaves * 2 / 3, leaves];
    ends.into_iter().map(|leaves| Output { leaves, tensor: moved(leaves) }).collect()
}

pub fn matrix(salt: u64, rows: usize, columns: usize) -> Tensor {
    let numbers: Vec<f64> = (0..rows * columns).map(|at| noise(salt, at as u64, 9) - 0.5).collect();
    Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).expect("a matrix")
}

/// A number in (0, 1) that depends on all of the arguments.
pub fn noise(a: u64, b: u64, c: u64) -> f64 {
    let mut mixed = (a << 40) ^ (b << 16) ^ c ^ 0x9e37_79b9_7f4a_7c15;
    for _ in 0..3 {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
    }
    ((mixed >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}
