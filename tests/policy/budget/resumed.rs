//! A policy that was saved and loaded goes on as it would have.

use freeze_core::Policy;
use freeze_core::policy::BudgetSettings;
use serde_json::Value;

use super::rig::{EVEN, Script, budget, costs, declared, plan, settings, trained};

/// Drops that change with the step, so that what was seen when matters.
fn drop(step: usize, leaf: usize) -> f64 {
    ((step * 31 + leaf * 17) % 23) as f64 / 7.0 - 0.4
}

#[test]
fn saved_and_loaded_at_any_step_it_decides_the_same() {
    let costs = costs(&[EVEN; 6], &[]);
    let rows = [
        settings(),
        BudgetSettings { time: None, bytes: Some(700), every: 0.5, ..settings() },
        BudgetSettings { prefix: true, cached: true, probe: 2, ..settings() },
    ];
    for settings in rows {
        let base = declared(6, &[5]);
        let script = Script { base: &base, steps: 40, drop: &drop };
        let whole = script.run(&mut budget(settings.clone(), &costs), |_, _| {});
        assert!(whole.len() > 5, "{settings}");
        for at in 1..40 {
            // The new one has no costs of its own, and through text.
            let resumed = script.run(&mut budget(settings.clone(), &costs), |step, policy| {
                if step == at {
                    let text = policy.state().to_string();
                    let state: Value = serde_json::from_str(&text).expect("JSON");
                    let new = freeze_core::policy::Settings::policy(settings.clone());
                    *policy = new.expect("a policy");
                    policy.load_state(&state).expect("its state");
                    assert_eq!(policy.state(), state);
                }
            });
            assert_eq!(resumed, whole, "{settings}, at {at}");
        }
    }
}

#[test]
fn asked_twice_or_where_it_is_not_due_it_answers_the_same() {
    let costs = costs(&[EVEN; 6], &[]);
    let base = plan(6);
    for settings in
        [settings(), BudgetSettings { time: Some(0.9), bytes: Some(900), every: 1.0, ..settings() }]
    {
        let script = Script { base: &base, steps: 40, drop: &drop };
        let whole = script.run(&mut budget(settings.clone(), &costs), |_, _| {});
        let current = |step: usize| {
            let before = whole.iter().rev().find(|(at, _)| *at <= step);
            before.expect("the start").1.clone()
        };
        let asked = script.run(&mut budget(settings, &costs), |step, policy| {
            for _ in 0..2 {
                let decided = policy.decide(script.at(step), &base).expect("a plan");
                assert_eq!(decided, current(step), "{step}");
            }
        });
        assert_eq!(asked, whole);
    }
}

/// In a run that was made longer a cycle of the same number is another: what the old one saw does not count.
#[test]
fn in_a_longer_run_it_forgets_what_the_shorter_one_saw() {
    let (costs, base) = (costs(&[EVEN; 4], &[]), plan(4));
    let chosen = |old: &dyn Fn(usize, usize) -> f64| {
        let mut policy = budget(BudgetSettings { time: Some(0.72), ..settings() }, &costs);
        Script { base: &base, steps: 30, drop: old }.run(&mut policy, |_, _| {});
        // The third cycle of 60 steps begins after 40, that of 30 began after 20.
        let longer = Script { base: &base, steps: 60, drop: &|_, leaf| [1.0, 0.1, 0.1, 0.1][leaf] };
        let mut plan = base.clone();
        for step in 30..50 {
            if let Some(decision) = longer.step(&mut policy, step, &plan).expect("a step") {
                plan = decision.plan;
            }
        }
        trained(&plan)
    };
    assert_eq!(chosen(&|_, _| 0.0), [0]);
    assert_eq!(chosen(&|_, leaf| [0.0, 9.0, 9.0, 9.0][leaf]), [0]);
}
