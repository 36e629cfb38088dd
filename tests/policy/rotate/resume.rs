//! A policy that loads its state at any step goes on as it would have.

use freeze_core::Decision;

use super::rig::*;

const STEPS: usize = 40;

#[test]
fn from_every_step() {
    let base = body(5);
    for settings in ALL {
        let mut told: Vec<Option<Decision>> = Vec::new();
        let mut saved = Vec::new();
        let mut plans = vec![base.clone()];
        let mut whole = policy(settings);
        let run = drive(&mut whole, &base, (0, STEPS), base.clone(), |_, decision, policy| {
            // As in a checkpoint: text, and read again.
            saved.push(policy.state().to_string());
            let last = decision.map(|decision| decision.plan.clone());
            plans.push(last.unwrap_or_else(|| plans.last().expect("a plan").clone()));
            told.push(decision.cloned());
        });
        run.expect("a run");
        for from in 0..=STEPS {
            let mut later = policy(settings);
            // Half of them have run for a while.
            if from % 2 == 0 {
                drive(&mut later, &base, (0, 9), base.clone(), |_, _, _| {}).expect("a run");
            }
            later.load_state(&serde_json::from_str(&saved[from]).expect("JSON")).expect("a state");
            let plan = plans[from + 1].clone();
            let again = drive(&mut later, &base, (from, STEPS), plan, |step, decision, policy| {
                if step == from {
                    return;
                }
                assert_eq!(decision, told[step].as_ref(), "{settings}: from {from}, step {step}");
                assert_eq!(policy.state().to_string(), saved[step], "{settings} {from} {step}");
            });
            again.expect("a run");
        }
    }
}

#[test]
fn seeds_draw_differently_and_a_seed_draws_the_same() {
    for name in ["lisa", "weighted"] {
        let turns = |seed: u64| {
            let settings = format!(r#"{{"policy": "{name}", "every": 1, "seed": {seed}}}"#);
            let (mut policy, base) = (policy(&settings), body(9));
            let decide = |step| policy.decide(at(step, 30), &base).expect("a decision").plan;
            (0..30).map(decide).collect::<Vec<_>>()
        };
        assert_eq!(turns(1), turns(1));
        assert_ne!(turns(1), turns(2));
    }
}
