//! Settings, progress, states and numbers that are refused by name; nothing has changed then.

use freeze_core::policy::{Moment, Observation, Seen, from_json};
use freeze_core::{Elapsed, Norms};
use serde_json::json;

use super::rig::*;

#[test]
fn settings() {
    let rows = [
        (r#"{"policy": "lisa", "every": 0}"#, "`every` is 0, expected at least 1"),
        (
            r#"{"policy": "lisa", "blocks": 0, "train-rest": false}"#,
            "`blocks` is 0, expected at least 1 where `train-rest` is false",
        ),
        (r#"{"policy": "lisa", "by": {"patterns": []}}"#, "`by` has no pattern"),
        (r#"{"policy": "lisa", "block": 3}"#, "it has no setting `block`; near names: `blocks`"),
        (r#"{"policy": "lisa", "state": "lost"}"#, "unknown variant `lost`"),
        (r#"{"policy": "badam", "switch-every": 0}"#, "`switch_every` is 0, expected at least 1"),
        (r#"{"policy": "badam", "order": "fixed"}"#, "the order `fixed` needs `start`"),
        (r#"{"policy": "badam", "order": "random", "start": 1}"#, "`start` has no meaning"),
        (r#"{"policy": "badam", "by": {"patterns": []}}"#, "`by` has no pattern"),
        (r#"{"policy": "hift", "blocks": 0}"#, "`blocks` is 0, expected at least 1"),
        (r#"{"policy": "hift", "every": 0}"#, "`every` is 0, expected at least 1"),
        (
            r#"{"policy": "hift", "state": "drop"}"#,
            "`state` is `drop`, expected `keep` or `offload`",
        ),
        (r#"{"policy": "hift", "by": {"patterns": []}}"#, "`by` has no pattern"),
        (r#"{"policy": "weighted", "blocks": 0}"#, "`blocks` is 0, expected at least 1"),
        (r#"{"policy": "weighted", "every": 0}"#, "`every` is 0, expected at least 1"),
        (r#"{"policy": "weighted", "smoothing": 1.0}"#, "`smoothing` is 1, expected a number of"),
        (r#"{"policy": "weighted", "smoothing": -0.1}"#, "`smoothing` is -0.1"),
        (
            r#"{"policy": "weighted", "floor": 1.1}"#,
            "`floor` is 1.1, expected a number from 0 to 1",
        ),
        (r#"{"policy": "weighted", "epsilon": -1.0}"#, "`epsilon` is -1, expected a number from 0"),
        (r#"{"policy": "weighted", "temperature": 0.0}"#, "`temperature` is 0, expected a finite"),
        (r#"{"policy": "weighted", "score": {"given": {"a": -1.0}}}"#, "`score` is -1, expected"),
        (r#"{"policy": "weighted", "by": {"patterns": []}}"#, "`by` has no pattern"),
    ];
    for (settings, expected) in rows {
        let refused = from_json(settings).err().expect(settings).to_string();
        assert!(refused.contains(expected), "{settings}: {refused}");
    }
}

#[test]
fn models_that_settings_do_not_fit() {
    let rows = [
        (
            r#"{"policy": "badam", "order": "fixed", "start": 3}"#,
            "`start` is 3, expected less than 3, the blocks there are",
        ),
        (r#"{"policy": "badam", "order": "ascending", "start": 9}"#, "`start` is 9"),
        (r#"{"policy": "badam", "also-trains": ["haed"]}"#, "near names: `head`"),
        (r#"{"policy": "lisa", "by": {"patterns": ["bdoy.**"]}}"#, "`bdoy.**`"),
        (
            r#"{"policy": "weighted", "score": {"given": {"body.0": 1, "body.1": 1, "body.3": 1}}}"#,
            "`score` names no block of the model: `body.3`; near names: `body.0`",
        ),
        (
            r#"{"policy": "weighted", "score": {"given": {"body.0": 1, "body.1": 1}}}"#,
            "`score` has no number for the block `body.2`",
        ),
    ];
    for (settings, expected) in rows {
        let mut policy = policy(settings);
        let state = policy.state();
        let refused = policy.decide(at(3, 9), &body(3)).expect_err(settings).to_string();
        assert!(refused.contains(expected), "{settings}: {refused}");
        assert_eq!(policy.state(), state);
    }
}

#[test]
fn progress_without_steps_or_beyond_the_last() {
    for settings in ALL {
        let mut policy = policy(settings);
        let at_epoch = Elapsed::new(1, 3);
        assert!(policy.is_due(at_epoch, Moment::Epoch) && policy.is_due(at_epoch, Moment::Start));
        let state = policy.state();
        let rows = [
            (at_epoch, "`steps` is 0, expected the steps of the whole run"),
            (Elapsed::new(1, 3).at_step(10, 9), "`step` is 10, expected at most the total"),
        ];
        for (at, expected) in rows {
            let refused = policy.decide(at, &body(3)).expect_err(settings).to_string();
            assert!(refused.contains(expected), "{settings}: {refused}");
            assert_eq!(policy.state(), state, "{settings}");
        }
        assert!(policy.decide(at(9, 9), &body(3)).is_ok(), "the end of the run");
    }
}

#[test]
fn states_of_others() {
    for settings in ALL {
        let mut policy = policy(settings);
        drive(&mut policy, &body(3), (0, 5), body(3), |_, _, _| {}).expect("a run");
        let state = policy.state();
        let mut rows =
            vec![json!("3"), json!(-1), json!([3]), json!({}), json!({ "began": 1 }), json!(3)];
        if let Some(saved) = state.as_object().filter(|saved| saved.contains_key("memory")) {
            let with = |name: &str, value: serde_json::Value| {
                let mut memory = saved["memory"].clone();
                memory[name] = value;
                json!({ "turns": saved["turns"], "memory": memory })
            };
            rows.extend([
                with("leaves", json!({ "0": -1.0 })),
                with("leaves", json!({ "a": 1.0 })),
                with("leaves", json!({ "0": null })),
                with("counts", json!({ "a": -1 })),
                with("drawn", json!(["a"])),
                with("more", json!(1)),
                json!({ "turns": "x", "memory": saved["memory"] }),
                json!({ "turns": saved["turns"], "memory": saved["memory"], "more": 1 }),
                json!(null),
            ]);
        }
        for row in rows {
            let refused = policy.load_state(&row).expect_err(&row.to_string()).to_string();
            assert!(refused.contains(&policy.describe()), "{refused}");
            assert_eq!(policy.state(), state, "{row}");
        }
    }
}

#[test]
fn numbers_that_are_none() {
    let norms = |size: f64| Norms { l1: size, l2: size };
    for (settings, what) in [
        (r#"{"policy": "weighted"}"#, "gradient"),
        (r#"{"policy": "weighted", "score": "weight"}"#, "weight"),
    ] {
        for bad in [f64::NAN, f64::INFINITY] {
            let mut policy = policy(settings);
            policy.observe(&seen(&body(3), at(1, 9))).expect("numbers");
            let state = policy.state();
            let fine = Seen::new(1, "body.0.a.weight", 4).gradient(norms(9.0)).weight(norms(9.0));
            let unfit = Seen::new(3, "body.1.a.weight", 4).gradient(norms(bad)).weight(norms(bad));
            let seen = Observation::after_step(at(2, 9), 1.0).tensor(fine).tensor(unfit);
            let refused = policy.observe(&seen).expect_err(settings).to_string();
            let expected = format!("the {what} of `body.1.a.weight`, which is {bad}");
            assert!(refused.contains(&expected), "{refused}");
            assert_eq!(policy.state(), state);
        }
    }
    // Two that are numbers, whose norm together is none.
    let mut policy = policy(r#"{"policy": "weighted"}"#);
    let largest = |name: &str| Seen::new(1, name, 4).gradient(norms(f64::MAX));
    let seen = Observation::after_step(at(1, 9), 1.0).tensor(largest("a.x")).tensor(largest("a.y"));
    let refused = policy.observe(&seen).expect_err("too large").to_string();
    assert!(refused.contains("`a.y`, which is inf"), "{refused}");
}
