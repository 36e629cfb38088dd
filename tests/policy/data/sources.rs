//! Policies from JSON, TOML and text, and what is refused.

use freeze_core::policy::{Policy, from_json, from_text, from_toml};

const LINEAR: &str = "linear(start=0.3, level=1)";

#[test]
fn every_source_makes_the_same() {
    let parts = format!("then({LINEAR} until 0.8, all-trained(scale=0.1))");
    let steps = "every(steps=5, of=linear(start=0.5, level=1))";
    for (json, toml, text, expected) in [
        (
            r#"{"policy": "linear", "start": 0.3}"#,
            "policy = \"linear\"\nstart = 0.3",
            "linear:start=0.3",
            LINEAR,
        ),
        (
            r#"{"policy": "every", "steps": 5, "of": "linear", "version": 1}"#,
            "policy = \"every\"\nsteps = 5\nversion = 1\nof = { policy = \"linear\" }",
            " every : of = linear , steps = 5, version=1",
            steps,
        ),
        (
            r#"{"policy": "then", "parts": [{"policy": "linear", "start": 0.3, "until": 0.8},
                {"policy": "all-trained", "scale": 0.1}]}"#,
            "policy = \"then\"\n[[parts]]\npolicy = \"linear\"\nstart = 0.3\nuntil = 0.8\n\
             [[parts]]\npolicy = \"all-trained\"\nscale = 0.1",
            r#"then:parts=[{"policy":"linear","start":0.3,"until":0.8},{"policy":"all-trained","scale":0.1}]"#,
            parts.as_str(),
        ),
        (r#""monotone""#, "policy = \"monotone\"", "monotone", ""),
    ] {
        let made = [from_json(json), from_toml(toml), from_text(text)];
        for (policy, source) in made.into_iter().zip([json, toml, text]) {
            match policy {
                Ok(policy) => assert_eq!(policy.describe(), expected, "{source}"),
                Err(error) => {
                    assert!(expected.is_empty(), "{source}: {error}");
                    assert!(error.to_string().contains("missing field `of`"), "{error}");
                }
            }
        }
    }
}

/// JSON has none of these, and a setting that is left out would have its default.
#[test]
fn numbers_that_are_infinite_or_nan_are_refused_by_name() {
    for (toml, named) in [
        ("policy = \"auto-freeze\"\ncap = nan", "`cap = NaN`"),
        ("policy = \"budget\"\ntime = inf\nbytes = 9", "`time = inf`"),
        ("policy = \"unfreeze-on\"\nat = [0.5, -inf]\nof = \"linear\"", "-inf"),
        ("policy = \"monotone\"\nof = { policy = \"linear\", start = nan }", "`start = NaN`"),
    ] {
        let refused = from_toml(toml).err().expect(toml).to_string();
        assert!(refused.contains(&format!("{named} is no number")), "{refused}");
    }
}

/// A policy by blocks without a block would never act.
#[test]
fn no_pattern_is_refused_by_every_policy_that_has_blocks() {
    let mut refused = Vec::new();
    for listed in freeze_core::policy::all() {
        let defaults = listed.defaults();
        if defaults.get("by").is_none() {
            continue;
        }
        let json = serde_json::json!({"policy": listed.name, "by": {"patterns": []}});
        let error = from_json(&json.to_string()).err().expect(listed.name).to_string();
        assert!(error.contains("`by` has no pattern"), "{error}");
        refused.push(listed.name);
    }
    assert!(refused.contains(&"auto-freeze") && refused.contains(&"budget"), "{refused:?}");
}

#[test]
fn a_dot_leads_into_a_setting() {
    for (text, json) in [
        ("linear:acts.steps=3", r#"{"policy": "linear", "acts": {"steps": 3}}"#),
        (
            "linear:acts.steps=3,acts.epochs=true",
            r#"{"policy": "linear", "acts": {"steps": 3, "epochs": true}}"#,
        ),
        (
            "only:pattern=body.**,of=linear",
            r#"{"policy": "only", "pattern": "body.**", "of": "linear"}"#,
        ),
        (
            r#"only:pattern="a,b",of=linear"#,
            r#"{"policy": "only", "pattern": "a,b", "of": "linear"}"#,
        ),
        (
            r#"only:pattern="a\",b",of=linear"#,
            r#"{"policy": "only", "pattern": "a\",b", "of": "linear"}"#,
        ),
        (
            "unfreeze-on:of=linear,at=[0.2, 0.4]",
            r#"{"policy": "unfreeze-on", "at": [0.2, 0.4], "of": "linear"}"#,
        ),
        ("linear:", r#""linear""#),
    ] {
        let text = from_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(text.describe(), from_json(json).expect(json).describe());
    }
}

#[test]
fn what_is_wrong_is_said_by_name() {
    let json: [(&str, &str); 18] = [
        ("7", "neither an object nor a name"),
        ("{", "its settings: EOF"),
        ("{}", "`policy` is missing"),
        (r#"{"policy": 7}"#, "`policy` is missing"),
        (r#"{"policy": "liner"}"#, "near names: `linear`"),
        (r#"{"policy": "linear", "version": 2}"#, "`version` is not 1"),
        (r#"{"policy": "linear", "start": 1.5}"#, "`freeze_start` is 1.5"),
        (
            r#"{"policy": "linear", "start": "soon"}"#,
            "the policy `linear`: its settings: invalid type",
        ),
        (
            r#"{"policy": "monotone", "of": {"policy": "linear", "strat": 1}}"#,
            "the policy `linear`: it has no setting `strat`; near names: `start`",
        ),
        (
            r#"{"policy": "monotone", "off": "linear"}"#,
            "the policy `monotone`: it has no setting `off`; near names: `of`",
        ),
        (
            r#"{"policy": "monotone", "of": {"policy": "linear", "version": 3}}"#,
            "`version` is not 1",
        ),
        (r#"{"policy": "then", "parts": []}"#, "`parts` is empty"),
        (r#"{"policy": "then", "parts": ["linear", "linear"]}"#, "`until` of part 0 is no number"),
        (
            r#"{"policy": "then", "parts": [{"policy": "linear", "until": 0.5}]}"#,
            "the last part has an `until`",
        ),
        (r#"{"policy": "max", "of": []}"#, "`of` is empty"),
        (r#"{"policy": "linear", "start": 0.1, "start": 0.9}"#, "`start` is given twice"),
        (r#"{"policy": "linear", "policy": "linear"}"#, "`policy` is given twice"),
        (
            r#"{"policy": "max", "of": [{"policy": "linear", "start": 1, "start": 1}]}"#,
            "given twice",
        ),
    ];
    for (text, expected) in json {
        let error = from_json(text).err().expect(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let text: [(&str, &str); 7] = [
        ("", "near names"),
        ("linear:start", "`start` is not of the form `name=value`"),
        ("linear:start=0.1,start=0.2", "`start=0.2` is given twice"),
        ("linear:start=0.1,start.x=0.2", "`start.x=0.2` is given twice"),
        (r#"max:of=[{"policy":"linear","start":1,"start":0}]"#, "`start` is given twice"),
        ("linear:policy=linear", "`policy` is the name in front of the colon"),
        ("linear:strat=0.1", "near names: `start`"),
    ];
    for (text, expected) in text {
        let error = from_text(text).err().expect(text).to_string();
        assert!(error.contains(expected) || text.is_empty(), "{text}: {error}");
    }
    for (toml, expected) in [
        ("policy = ", "the policy ``: its settings: TOML parse error at line 1"),
        ("start = 1", "`policy` is missing"),
    ] {
        let error = from_toml(toml).err().expect(toml).to_string();
        assert!(error.contains(expected), "{toml}: {error}");
    }
}

#[test]
fn shares_and_counts_of_combinators_are_refused_by_name() {
    for (text, expected) in [
        ("with-floor:of=linear,share=1.1", "`share` is 1.1, expected a number from 0 to 1"),
        ("with-ceiling:of=linear,share=-0.1", "`share` is -0.1, expected a number from 0 to 1"),
        ("at-most-per-round:of=linear,share=0", "`share` is 0, expected a number of more than 0"),
        ("every:of=linear,steps=0", "`steps` is 0, expected at least 1"),
        ("only:of=linear,pattern=a[", "`a[`"),
        ("unfreeze-on:of=linear,at=[0.5,0.5]", "`at` is 0.5, expected a share of the run above"),
        ("unfreeze-on:of=linear,at=[1]", "`at` is 1, expected a share of the run above"),
        (
            r#"then:parts=[{"policy":"linear","until":0},"linear"]"#,
            "`until` is 0, expected a share",
        ),
        ("all-trained:scale=-1", "`scale` is -1, expected a finite number of at least 0"),
    ] {
        let error = from_text(text).err().expect(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
