//! Policies one after the other, and one that starts again.

use freeze_core::policy::{
    Linear, Moment, Needs, Observation, Policy, PolicyExt, Seen, all_trained, from_value,
};
use freeze_core::{Elapsed, LeafState, Norms};
use serde_json::json;

use super::fake::*;
use crate::data::script::Script;

#[test]
fn each_part_sees_a_run_of_its_own() {
    let mut policy = Linear::new(0.0, 1.0)
        .expect("a schedule")
        .then(0.5, Linear::new(0.0, 1.0).expect("a schedule"));
    let policy = policy.as_mut().expect("a share");
    for (step, expected) in
        [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 0), (7, 1), (9, 3), (10, 4)]
    {
        let decision = policy.decide(at(step), &plan(5)).expect("decided");
        assert_eq!(decision.plan.frozen_leaves(), expected, "step {step}");
        assert_eq!(decision.metrics["then/part"], f64::from(u8::from(step >= 5)), "step {step}");
    }
}

#[test]
fn a_part_begins_at_once_whatever_its_rhythm() {
    let mut policy = Fake::new(&[&[0, 1]])
        .then(0.3, all_trained(0.1).expect("a share"))
        .and_then(|policy| policy.then(0.75, Fake::new(&[&[2]])))
        .expect("shares");
    let mut due = Vec::new();
    for step in 1..=10 {
        if policy.is_due(at(step), Moment::Step) {
            policy.decide(at(step), &plan(4)).expect("decided");
            due.push(step);
        }
    }
    // Each step in the first, the beginning of the second, each step in the third.
    assert_eq!(due, [1, 2, 3, 8, 9, 10]);
    for (step, states) in [
        (2, [0.0, 0.0, 1.0, 1.0]),
        (3, [0.1, 0.1, 0.1, 0.1]),
        (7, [0.1, 0.1, 0.1, 0.1]),
        (8, [1.0, 1.0, 0.0, 1.0]),
    ] {
        let decision = policy.decide(at(step), &plan(4)).expect("decided");
        let rate = |state: &LeafState| match state {
            LeafState::Frozen => 0.0,
            LeafState::Trained { lr_scale } => *lr_scale,
        };
        let rates: Vec<f64> = decision.plan.states().iter().map(rate).collect();
        assert_eq!(rates, states, "step {step}");
    }
    assert_eq!(policy.describe(), "then(fake until 0.3, all-trained(scale=0.1) until 0.75, fake)");
}

#[test]
fn what_was_asked_for_is_passed_to_who_asked() {
    let fake = |needs| Fake::new(&[&[]]).needing(needs);
    let mut policy = fake(Needs::GRADIENT).then(0.5, fake(Needs::WEIGHT)).expect("a share");
    for step in 1..=10 {
        let needs = if step <= 5 { Needs::GRADIENT } else { Needs::WEIGHT };
        assert_eq!(policy.needs(at(step - 1)), needs, "before step {step}");
        policy.observe(&Observation::after_step(at(step), 1.0)).expect("observed");
    }
    assert_eq!(policy.state()["inner"], json!([5, 5]));
    let nan = policy.observe(&Observation::after_step(at(10), f64::NAN));
    assert!(nan.expect_err("NaN").to_string().contains("loss"));
    let both = fake(Needs::GRADIENT).max(fake(Needs::WEIGHT));
    assert_eq!(both.needs(at(1)), Needs::GRADIENT | Needs::WEIGHT);
}

#[test]
fn a_pair_that_refuses_an_observation_has_not_changed() {
    let fake = |needs| Fake::new(&[&[]]).needing(needs);
    let looks = Looks { needs: Needs::GRADIENT, shown: Vec::new() };
    let mut policy = looks.max(fake(Needs::WEIGHT));
    let seen =
        |step, loss| Observation::after_step(at(step), loss).tensor(Seen::new(0, "0.weight", 4));
    policy.observe(&seen(1, 1.0)).expect("observed");
    let before = policy.state();
    assert_eq!(before["inner"], json!([[[false, false]], 1]));
    policy.observe(&seen(2, f64::NAN)).expect_err("NaN");
    assert_eq!(policy.state(), before);
    // Who needs nothing is shown nothing.
    let mut policy = fake(Needs::GRADIENT).min(fake(Needs::NONE));
    policy.observe(&Observation::after_step(at(1), 1.0)).expect("observed");
    assert_eq!(policy.state()["inner"], json!([1, 0]));
}

#[test]
fn each_of_a_pair_is_shown_what_it_needs() {
    let norms = Norms { l1: 2.0, l2: 1.0 };
    let seen = Observation::after_step(at(1), 1.0)
        .tensor(Seen::new(0, "0.weight", 4).gradient(norms).weight(norms));
    let one = Looks { needs: Needs::GRADIENT, shown: Vec::new() };
    let other = Looks { needs: Needs::WEIGHT | Needs::GRADIENT_SUM, shown: Vec::new() };
    let mut policy = one.max(other);
    policy.observe(&seen).expect("observed");
    assert_eq!(policy.state()["inner"], json!([[[true, false]], [[false, true]]]));
}

/// A sum of gradients starts again with each look, whoever looks.
#[test]
fn what_counts_from_the_last_look_is_shared_by_equals_only() {
    let sums = |every| Sums { every };
    for (one, other, fails_at) in [(2, 2, None), (2, 3, Some(3)), (5, 2, Some(5)), (20, 2, None)] {
        let mut policy = sums(one).min(sums(other));
        let mut failed = None;
        for step in 1..=10 {
            let before = policy.state();
            if let Err(error) = policy.observe(&Observation::after_step(at(step), 1.0)) {
                let error = error.to_string();
                assert!(
                    error.contains("the policy `min`: both policies look at the sum"),
                    "{error}"
                );
                assert_eq!(policy.state(), before);
                failed = Some(step);
                break;
            }
        }
        assert_eq!(failed, fails_at, "{one} and {other}");
    }
}

#[test]
fn a_drop_of_the_rate_thaws_and_starts_again() {
    let mut policy = Linear::new(0.0, 1.0).and_then(|linear| linear.unfreeze_on([0.3, 0.6]));
    let policy = policy.as_mut().expect("shares");
    let frozen = |policy: &mut dyn Policy, step| {
        policy.decide(at(step), &plan(5)).expect("decided").plan.frozen_leaves()
    };
    let steps: Vec<usize> = (0..=10).map(|step| frozen(policy, step)).collect();
    assert_eq!(steps, [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4]);
    let decision = policy.decide(at(3), &plan(5)).expect("decided");
    assert_eq!(why(&decision, 0), ["thawed: the learning rate drops, which is 1 of 2 times"]);
    for (step, due) in [(2, false), (3, true)] {
        policy.decide(at(2), &plan(5)).expect("decided");
        assert_eq!(policy.is_due(at(step), Moment::Step), due, "{step}");
    }
}

/// What it counted before the drop is forgotten.
#[test]
fn a_restart_forgets() {
    let mut policy = Fake::new(&[&[]]).unfreeze_on([0.5]).expect("a share");
    for step in 1..=6 {
        policy.observe(&Observation::after_step(at(step), 1.0)).expect("observed");
        policy.decide(at(step), &plan(2)).expect("decided");
    }
    assert_eq!(policy.state(), json!({ "own": 1, "inner": [1] }));
}

/// Weights and costs are shown once, at the start of the run.
#[test]
fn a_restart_keeps_what_only_the_start_shows() {
    let costs = Script::new(4, 1, 40).with_costs();
    for of in [json!("spectrum"), json!({ "policy": "budget", "time": 1.0 })] {
        let settings = json!({ "policy": "unfreeze-on", "at": [0.5], "of": of });
        let mut policy = from_value(settings).expect("a policy");
        let decisions = costs.again().play(&mut policy, &mut |_, _, _| Ok(())).expect("decided");
        let last = decisions.last().expect("a decision");
        assert_eq!(last.metrics["unfreeze_on/part"], 1.0, "{of}");
    }
}

#[test]
fn without_steps_time_goes_by_epochs() {
    let epochs = |epoch| Elapsed::new(epoch, 8);
    let mut policy = Linear::new(0.0, 1.0)
        .and_then(|linear| linear.then(0.5, all_trained(0.1)?))
        .expect("parts");
    for (epoch, expected) in [(0, 0), (2, 2), (3, 3), (4, 0), (8, 0)] {
        let decision = policy.decide(epochs(epoch), &plan(5)).expect("decided");
        assert_eq!(decision.plan.frozen_leaves(), expected, "epoch {epoch}");
    }
    assert!(policy.is_due(epochs(9), Moment::Epoch), "so that it is said");
    assert!(policy.decide(epochs(9), &plan(5)).is_err());
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let none = json!([[false, false], [false, false], [false, false]]);
    let fake = || Fake::new(&[&[]]).needing(Needs::GRADIENT);
    let mut policy = fake().max(fake());
    policy.observe(&Observation::after_step(at(1), 1.0)).expect("observed");
    for (state, expected) in [
        (json!(null), "invalid type"),
        (json!({ "own": none, "inner": [1] }), "it holds the states of 1 policies, not of 2"),
        (json!({ "own": none, "inner": [7, "x"] }), "it is no number"),
        (json!({ "own": none, "inner": [7, 7], "more": 1 }), "unknown field `more`"),
    ] {
        let refused = policy.load_state(&state).expect_err("refused").to_string();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(policy.state(), json!({ "own": none, "inner": [1, 1] }), "{state}");
    }
    policy.load_state(&json!({ "own": none, "inner": [7, 8] })).expect("loaded");
    assert_eq!(policy.state()["inner"], json!([7, 8]));
}
