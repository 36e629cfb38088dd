//! Plans by hand, policies by name, and runs without a model.

use freeze_core::policy::{Boxed, Moment, Observation, Seen, from_json};
use freeze_core::{Decision, Elapsed, FreezePlan, Norms, Policy, Result};

/// A plan of these leaves, all trained.
pub fn plan<S: AsRef<str>>(paths: &[S]) -> FreezePlan {
    let trained = serde_json::json!({ "trained": { "lr_scale": 1.0 } });
    let leaves: Vec<_> = paths.iter().map(|path| (path.as_ref(), &trained)).collect();
    serde_json::from_value(serde_json::json!({ "leaves": leaves })).expect("a plan")
}

/// `embed`, `blocks` blocks of two leaves each, and `head`.
pub fn body(blocks: usize) -> FreezePlan {
    let inner = (0..blocks).flat_map(|i| ["a", "b"].map(|leaf| format!("body.{i}.{leaf}")));
    let ends = [String::from("embed"), String::from("head")];
    let [embed, head] = ends;
    plan(&[embed].into_iter().chain(inner).chain([head]).collect::<Vec<_>>())
}

pub fn policy(settings: &str) -> Boxed {
    from_json(settings).expect("a policy")
}

/// Step `step` of `steps`, in epochs of 7 steps.
pub fn at(step: usize, steps: usize) -> Elapsed {
    Elapsed::new(step / 7, steps.div_ceil(7)).at_step(step, steps)
}

/// The paths that train.
pub fn trained(plan: &FreezePlan) -> Vec<&str> {
    let leaves = plan.paths().iter().zip(plan.states());
    leaves.filter(|(_, state)| !state.is_frozen()).map(|(path, _)| path.as_str()).collect()
}

/// What a step of a model under `plan` shows: norms that depend on leaf and step.
pub fn seen(plan: &FreezePlan, at: Elapsed) -> Observation {
    let tensors = plan.states().iter().enumerate().filter(|(_, state)| !state.is_frozen());
    tensors.fold(Observation::after_step(at, 1.0), |seen, (leaf, _)| {
        let size = 0.1 + ((leaf * 31 + at.step * 17) % 13) as f64 / 3.0;
        let norms = Norms { l1: 2.0 * size, l2: size };
        let name = format!("{}.weight", plan.paths()[leaf]);
        seen.tensor(Seen::new(leaf, name, 4).gradient(norms).weight(norms))
    })
}

/// Runs `policy` from `from` to the end without a model, as a run would ask it: whenever it is due and
/// with what a step shows. `each` gets what was decided at each step.
pub fn drive(
    policy: &mut Boxed,
    base: &FreezePlan,
    (from, steps): (usize, usize),
    mut plan: FreezePlan,
    mut each: impl FnMut(usize, Option<&Decision>, &Boxed),
) -> Result<FreezePlan> {
    for step in from..=steps {
        let now = at(step, steps);
        if step > from {
            policy.observe(&seen(&plan, now))?;
        }
        let moment = match step {
            0 => Moment::Start,
            step if step.is_multiple_of(7) => Moment::Epoch,
            _ => Moment::Step,
        };
        let due = (step == 0 || step > from) && policy.is_due(now, moment);
        let decision = due.then(|| policy.decide(now, base)).transpose()?;
        if let Some(decision) = &decision {
            plan = decision.plan.clone();
        }
        each(step, decision.as_ref(), policy);
    }
    Ok(plan)
}

/// One policy of each kind, with short turns.
pub const ALL: [&str; 10] = [
    r#"{"policy": "lisa", "every": 3}"#,
    r#"{"policy": "lisa", "every": 4, "blocks": 1, "state": "keep", "seed": 5, "train-rest": false}"#,
    r#"{"policy": "badam", "switch-every": 3}"#,
    r#"{"policy": "badam", "switch-every": 2, "order": "random", "include-rest": true}"#,
    r#"{"policy": "hift"}"#,
    r#"{"policy": "hift", "blocks": 2, "every": 2, "order": "random"}"#,
    r#"{"policy": "weighted", "every": 3, "blocks": 1}"#,
    r#"{"policy": "weighted", "every": 2, "score": "weight", "sampling": "epsilon-greedy", "epsilon": 0.5}"#,
    r#"{"policy": "weighted", "every": 2, "sampling": "dirichlet", "state": "reset-all"}"#,
    r#"{"policy": "weighted", "every": 5, "by": "leaf", "floor": 1.0, "temperature": 0.3}"#,
];
