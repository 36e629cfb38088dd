//! What a policy would refuse in a later part of the run is said at its start.

use freeze_core::Elapsed;
use freeze_core::policy::{Moment, Observation, Policy, PolicyExt, from_value};
use serde_json::{Value, json};

use super::fake::*;

/// What a later part would refuse when it begins is said at once; what it decides then is forgotten.
#[test]
fn parts_to_come_are_tried_at_the_start() {
    let decided = |later: &Value| {
        let parts = json!([{ "policy": "linear", "until": 0.5 }, later]);
        let settings = json!({ "policy": "then", "parts": parts });
        let mut policy = from_value(settings).expect("a policy");
        assert!(policy.is_due(at(0), Moment::Start));
        let before = policy.state();
        let decided = policy.decide(at(0), &plan(4));
        assert_eq!(policy.state(), before, "{later}");
        decided.map_err(|error| error.to_string())
    };
    let late = json!([{ "at": { "epoch": 1 }, "freeze": { "leaves": 1 } }]);
    for (later, expected) in [
        (json!({ "policy": "phases", "phases": [{ "train": ["hed"] }] }), "no leaf matches `hed`"),
        (json!({ "policy": "freeze-at", "milestones": late }), "the run has 1: no step would"),
        (json!("gradual-unfreezing"), "`steps` is 5"),
        (json!("spectrum"), "it has not seen the weights"),
        (json!("budget"), "it has no costs to go by"),
    ] {
        let error = decided(&later).expect_err("a refusal");
        let part = "the policy `then`: part 1, from 0.5 of the run on: ";
        assert!(error.starts_with(part) && error.contains(expected), "{error}");
    }
    let fit = ["auto-freeze", "grad-es", "ils", "plasticity", "rgn", "snr", "lisa", "weighted"];
    for later in fit {
        assert_eq!(decided(&json!(later)).err(), None, "{later}");
    }
}

/// A drop divides a run of 40 steps, in 4 epochs; each part has its own length, also for a `then` in it.
#[test]
fn drops_of_the_rate_are_tried_at_the_start() {
    let start = Elapsed::new(0, 4).at_step(0, 40);
    let every = |steps: usize| json!({ "policy": "every", "steps": steps, "of": "linear" });
    let late = json!([{ "at": { "epoch": 2 }, "freeze": { "leaves": 1 } }]);
    let late = json!({ "policy": "freeze-at", "milestones": late });
    let then = |later: Value| {
        let parts = json!([{ "policy": "linear", "until": 0.5 }, later]);
        json!({ "policy": "then", "parts": parts })
    };
    let halves = "the policy `then`: part 1, from 0.5 of the run on: ";
    for (drops, of, expected) in [
        (json!([0.75]), late, Some("but the run has 1: no step would follow")),
        (json!([0.25]), every(10), None),
        (json!([0.75]), every(11), Some("part 1, from 0.75 of the run on: the policy `every`: it")),
        // Parts of 16, 16 and 8 steps.
        (json!([0.4, 0.8]), then(every(4)), None),
        (json!([0.4, 0.8]), then(every(6)), Some("part 2, from 0.8 of the run on: ")),
        (json!([0.4, 0.8]), then(every(6)), Some(halves)),
        // The first part is the short one.
        (json!([0.2]), then(every(6)), Some(halves)),
    ] {
        let settings = json!({ "policy": "unfreeze-on", "at": drops, "of": of });
        let mut policy = from_value(settings).expect("a policy");
        assert!(policy.is_due(start, Moment::Start));
        let before = policy.state();
        let decided = policy.decide(start, &plan(4)).map_err(|error| error.to_string());
        match expected {
            None => assert_eq!(decided.err(), None, "{drops} {of}"),
            Some(expected) => {
                let error = decided.expect_err("a refusal");
                assert!(error.contains(expected), "{drops} {of}: {error}");
                assert_eq!(policy.state(), before, "{drops} {of}");
            }
        }
    }
}

/// What was observed before the first decision is not forgotten with the trial.
#[test]
fn a_trial_changes_nothing() {
    let mut policy = Fake::new(&[&[]]).unfreeze_on([0.5]).expect("a share");
    policy.observe(&Observation::after_step(at(1), 1.0)).expect("observed");
    policy.decide(at(1), &plan(2)).expect("decided");
    assert_eq!(policy.state(), json!({ "own": 0, "inner": [1] }));
}
