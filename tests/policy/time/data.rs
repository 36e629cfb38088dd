//! The settings of policies that go by time, from data.

use freeze_core::policy::{Family, all, from_json, from_value};
use serde_json::json;

use super::rig::refused;

#[test]
fn defaults_are_what_is_left_out() {
    let mut names = Vec::new();
    for listed in all().filter(|listed| listed.family == Family::Time) {
        let mut defaults = listed.defaults();
        defaults["policy"] = listed.name.into();
        let (given, left_out) = (from_value(defaults), from_value(json!({"policy": listed.name})));
        let (given, left_out) = (given.expect(listed.name), left_out.expect(listed.name));
        assert_eq!(given.describe(), left_out.describe());
        names.push(listed.name);
    }
    let expected =
        ["linear", "freeze-out", "geometric", "gradual-unfreezing", "phases", "freeze-at"];
    assert!(names.starts_with(&expected), "{names:?}");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    for (text, what) in [
        (r#"{"policy": "freeze-out", "t0": 2}"#, "`t0` is 2, expected a number from 0 to 1"),
        (
            r#"{"policy": "freeze-out", "t_0": 1}"#,
            "the policy `freeze-out`: it has no setting `t_0`",
        ),
        (
            r#"{"policy": "freeze-out", "how": "cube"}"#,
            "the policy `freeze-out`: its settings: unknown variant",
        ),
        (
            r#"{"policy": "geometric", "alpha": "1/3"}"#,
            "the policy `geometric`: its settings: invalid type",
        ),
        (
            r#"{"policy": "geometric", "keep": -1}"#,
            "the policy `geometric`: its settings: invalid value",
        ),
        (
            r#"{"policy": "gradual-unfreezing", "triangle": {"cut": 1}}"#,
            "the policy `gradual-unfreezing`: its settings: unknown field `cut`",
        ),
        (
            r#"{"policy": "phases", "phases": [{"trian": []}]}"#,
            "the policy `phases`: its settings: unknown field `trian`",
        ),
        (
            r#"{"policy": "freeze-at", "milestones": [{"at": {"step": 1}}]}"#,
            "the policy `freeze-at`: its settings: unknown variant `step`",
        ),
        (
            r#"{"policy": "freeze-at", "milestones": [{"at": {"epoch": 1}}]}"#,
            "the policy `freeze-at`: its settings: missing field `freeze`",
        ),
    ] {
        let error = refused(from_json(text));
        assert!(error.starts_with(what), "{error}");
    }
}
