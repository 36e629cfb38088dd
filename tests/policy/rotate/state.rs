//! What policies ask of optimizer state, and that they answer the same when asked again.

use freeze_core::optim::StatePolicy;

use super::rig::*;

#[test]
fn what_becomes_of_state_at_the_beginning_of_a_turn_and_within() {
    use StatePolicy::{Drop, Keep, Offload};
    let rows = [
        (r#"{"policy": "lisa", "every": 3}"#, Drop, true),
        (r#"{"policy": "lisa", "every": 3, "state": "drop"}"#, Drop, false),
        (r#"{"policy": "lisa", "every": 3, "state": "keep"}"#, Keep, false),
        (r#"{"policy": "lisa", "every": 3, "state": "offload"}"#, Offload, false),
        (r#"{"policy": "badam", "switch-every": 3}"#, Drop, true),
        (r#"{"policy": "badam", "switch-every": 3, "order": "fixed", "start": 0}"#, Drop, true),
        (r#"{"policy": "hift", "every": 3}"#, Offload, false),
        (r#"{"policy": "hift", "every": 3, "state": "keep"}"#, Keep, false),
        (r#"{"policy": "weighted", "every": 3}"#, Offload, false),
        (r#"{"policy": "weighted", "every": 3, "state": "reset-all"}"#, Drop, true),
    ];
    let base = body(4);
    for (settings, frozen, restarts) in rows {
        let mut policy = policy(settings);
        for step in 0..8 {
            let decision = policy.decide(at(step, 9), &base).expect("a decision");
            assert_eq!(decision.frozen_state, Some(frozen), "{settings} {step}");
            let leaves = decision.plan.states().iter().enumerate();
            let trained = leaves.filter(|(_, state)| !state.is_frozen()).map(|(leaf, _)| leaf);
            let all: Vec<usize> = trained.collect();
            let expected = if restarts && step % 3 == 0 { all } else { Vec::new() };
            assert_eq!(decision.restarts, expected, "{settings} {step}");
        }
    }
}

/// A loop that asks only now and then: a turn starts anew when it is first asked for.
#[test]
fn a_turn_that_was_not_asked_for_in_time_begins_late_and_once() {
    for settings in [
        r#"{"policy": "lisa", "every": 5}"#,
        r#"{"policy": "badam", "switch-every": 5}"#,
        r#"{"policy": "weighted", "every": 5, "state": "reset-all"}"#,
    ] {
        let (mut policy, base) = (policy(settings), body(4));
        let rows =
            [(0, true), (3, false), (7, true), (7, true), (8, false), (9, false), (16, true)];
        for (step, restarts) in rows {
            let decision = policy.decide(at(step, 20), &base).expect("a decision");
            assert_eq!(!decision.restarts.is_empty(), restarts, "{settings} {step}");
        }
    }
}

#[test]
fn asked_twice_it_answers_the_same() {
    let base = body(5);
    for settings in ALL {
        let mut policy = policy(settings);
        let mut plan = base.clone();
        for step in 0..30 {
            let now = at(step, 30);
            if step > 0 {
                policy.observe(&seen(&plan, now)).expect("numbers");
            }
            let once = policy.decide(now, &base).expect("a decision");
            let state = policy.state();
            let again = policy.decide(now, &base).expect("a decision");
            assert_eq!((&again, policy.state()), (&once, state), "{settings} {step}");
            plan = once.plan;
        }
    }
}
