//! Runs of the policies that go by time, stopped and resumed at each step.

use freeze_core::policy::{Family, all, from_json};
use freeze_core::{Decision, Policy};
use serde_json::json;

use super::rig::{leaves, net, plans, points, refused};

const POLICIES: [&str; 9] = [
    r#"{"policy": "linear", "start": 0.1, "acts": {"steps": 2, "epochs": true}}"#,
    r#"{"policy": "freeze-out", "t0": 0.3, "how": "squared", "acts": {"steps": 3}, "by": "block"}"#,
    r#"{"policy": "freeze-out", "scaled": false, "how": "linear"}"#,
    r#"{"policy": "geometric", "alpha": 0.25, "keep": 2}"#,
    r#"{"policy": "geometric", "acts": {"steps": 4}, "by": {"patterns": ["embed", "body.**", "head"]}}"#,
    r#"{"policy": "gradual-unfreezing", "triangle": {"cut-frac": 0.2, "ratio": 8}}"#,
    r#"{"policy": "gradual-unfreezing", "triangle": null, "acts": {"steps": 5}, "groups": 2, "factor": 1}"#,
    r#"{"policy": "phases", "phases": [
        {"train": ["head"], "until": {"share": 0.3}},
        {"rates": {"body.**": 0.1}, "freeze": ["embed"]}
    ]}"#,
    r#"{"policy": "freeze-at", "milestones": [
        {"at": {"epoch": 1}, "freeze": {"up-to": "embed"}},
        {"at": {"share": 0.8}, "freeze": {"leaves": 3}}
    ]}"#,
];

#[test]
fn resumed_at_any_step_they_decide_the_same() {
    let base = net(2);
    for text in POLICIES {
        let make = || from_json(text).expect(text);
        let mut policy = make();
        let mut states = Vec::new();
        let mut decisions: Vec<Option<Decision>> = Vec::new();
        for (at, moment) in points(3, 7) {
            states.push(policy.state());
            let due = policy.is_due(at, moment);
            decisions.push(due.then(|| policy.decide(at, &base).expect(text)));
            if let Some(decision) = &decisions[decisions.len() - 1] {
                assert_eq!(&policy.decide(at, &base).expect(text), decision, "asked twice, {text}");
            }
        }
        assert!(decisions.iter().flatten().count() >= 2, "{text}");
        for (from, state) in states.iter().enumerate() {
            let mut resumed = make();
            resumed.load_state(state).expect(text);
            for ((at, moment), expected) in points(3, 7).zip(&decisions).skip(from) {
                let due = resumed.is_due(at, moment);
                let decision = due.then(|| resumed.decide(at, &base).expect(text));
                assert_eq!(&decision, expected, "{at:?} resumed from {from}, {text}");
            }
        }
        let error = refused(policy.load_state(&json!({"step": 1})));
        assert!(error.contains(&policy.describe()), "{error}");
    }
}

#[test]
fn a_policy_is_told_from_one_with_other_settings() {
    let mut names: Vec<String> =
        POLICIES.iter().map(|text| from_json(text).expect(text).describe()).collect();
    for listed in all().filter(|listed| listed.family == Family::Time) {
        let default = from_json(&json!({"policy": listed.name}).to_string()).expect(listed.name);
        assert!(default.describe().starts_with(&format!("{}(", listed.name)));
        names.push(default.describe());
    }
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "{names:#?}");
}

#[test]
fn any_number_of_leaves_and_any_length_will_do() {
    for listed in all().filter(|listed| listed.family == Family::Time) {
        let make = || from_json(&json!({"policy": listed.name}).to_string()).expect(listed.name);
        for n in [0, 1, 2, 800] {
            for length in [(1, 10), (2, 5), (10, 1), (1, 40)] {
                let plans = plans(&mut make(), &leaves(n), length).expect(listed.name);
                assert!(plans.iter().all(|plan| n == 0 || plan.frozen_leaves() < n));
            }
        }
        let one = plans(&mut make(), &leaves(3), (1, 1));
        match listed.name {
            "gradual-unfreezing" => assert!(refused(one).starts_with("`steps` is 1, expected")),
            _ => assert_eq!(one.expect(listed.name).len(), 2),
        }
    }
}

#[test]
fn one_policy_serves_one_model_after_another() {
    for text in POLICIES {
        let mut policy = from_json(text).expect(text);
        for (at, _) in points(3, 7).skip(18) {
            for base in [net(2), net(4), net(1)] {
                let alone = from_json(text).and_then(|mut policy| policy.decide(at, &base));
                let decision = policy.decide(at, &base).expect(text);
                assert_eq!(decision, alone.expect(text), "{at:?}, {text}");
            }
        }
    }
}
