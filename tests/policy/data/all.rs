//! What holds for every policy of the library.

use std::path::{Path, PathBuf};

use freeze_core::policy::{Boxed, Family, Listed, Policy, all, defaults_toml, from_value};
use serde_json::{Value, json};

use super::script::Script;

/// The policy with its own defaults, and `changes`.
pub fn built(listed: &Listed, changes: Value) -> freeze_core::Result<Boxed> {
    let mut settings = listed.defaults();
    let object = settings.as_object_mut().expect("settings are an object");
    object.insert("policy".into(), listed.name.into());
    object.extend(changes.as_object().expect("an object").clone());
    from_value(settings)
}

fn of_defaults(listed: &Listed) -> Boxed {
    built(listed, json!({})).unwrap_or_else(|error| panic!("{}: {error}", listed.name))
}

/// As [`of_defaults`], with a budget that can be met whatever was measured on this machine.
fn playable(listed: &Listed) -> Boxed {
    match listed.family {
        Family::Budget => built(listed, json!({ "time": 1.0 })).expect(listed.name),
        _ => of_defaults(listed),
    }
}

#[test]
fn each_is_made_from_its_own_defaults() {
    let mut names: Vec<&str> = all().map(|listed| listed.name).collect();
    for listed in all() {
        let policy = of_defaults(listed);
        assert_eq!(policy.describe(), of_defaults(listed).describe(), "{}", listed.name);
        assert!(!listed.about.is_empty() && !listed.about.ends_with('.'), "{}", listed.name);
        assert!(listed.about.len() <= 80, "{}: one line", listed.name);
        let plain = |name: &str| {
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit())
        };
        assert!(plain(listed.name), "{}", listed.name);
        let settings = listed.defaults();
        for setting in settings.as_object().expect("an object").keys() {
            assert!(plain(setting), "{}: {setting}", listed.name);
            // `then` takes these out of a part.
            assert!(!["until", "policy", "version"].contains(&&**setting), "{}", listed.name);
        }
    }
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two of one name");
}

#[test]
fn unknown_settings_are_refused_with_the_near_ones() {
    for listed in all() {
        let name = listed.name;
        let Some(known) = listed.defaults().as_object().and_then(|o| o.keys().next().cloned())
        else {
            continue;
        };
        let wrong = format!("{known}z");
        let refused = built(listed, json!({ wrong.clone(): 1 })).err().expect(name).to_string();
        let expected =
            format!("the policy `{name}`: it has no setting `{wrong}`; near names: `{known}`");
        assert!(refused.starts_with(&expected), "{refused}");
        let all = listed.defaults();
        let all: Vec<String> =
            all.as_object().into_iter().flatten().map(|(name, _)| format!("`{name}`")).collect();
        let refused = built(listed, json!({ "zzz": 1 })).err().expect(name).to_string();
        let expected =
            format!("it has no setting `zzz`; there are {}", all[..all.len().min(8)].join(", "));
        assert!(refused.contains(&expected), "{refused}");
        let refused = built(listed, json!({ "version": 2 })).err().expect(name).to_string();
        assert!(refused.contains("`version` is not 1"), "{refused}");
        assert!(built(listed, json!({ "version": 1 })).is_ok(), "{name}");
    }
}

/// The sizes of a scripted run: leaves, epochs, steps in an epoch.
const RUNS: [(usize, usize, usize); 5] =
    [(0, 2, 12), (1, 3, 10), (12, 4, 10), (12, 1, 24), (800, 2, 12)];

/// A run that is too short for a policy's own defaults is refused by a name, or played.
#[test]
fn a_run_that_is_too_short_is_refused_by_name() {
    for (leaves, epochs, steps) in [(0, 1, 1), (12, 1, 1), (12, 2, 3), (12, 1, 9), (800, 1, 2)] {
        let costs = Script::new(leaves, epochs, steps).with_costs();
        let mut played = 0;
        for listed in all() {
            match costs.again().play(&mut playable(listed), &mut |_, _, _| Ok(())) {
                Ok(_) => played += 1,
                Err(error) => {
                    let error = error.to_string();
                    let named = error.contains(listed.name) || error.starts_with("`steps` is");
                    assert!(named, "{} over {leaves} leaves: {error}", listed.name);
                }
            }
        }
        assert!(played > 10, "{played} of the policies play {epochs} x {steps} steps");
    }
}

#[test]
fn something_trains_whatever_is_decided() {
    for (leaves, epochs, steps) in RUNS {
        let costs = Script::new(leaves, epochs, steps).with_costs();
        for listed in all() {
            let played = costs.again().play(&mut playable(listed), &mut |_, at, script| {
                let frozen = script.net.plan().frozen_leaves();
                assert!(leaves == 0 || frozen < leaves, "{} at {at:?}", listed.name);
                Ok(())
            });
            played.unwrap_or_else(|error| {
                panic!("{} over {leaves} leaves, {epochs} x {steps}: {error}", listed.name)
            });
        }
    }
}

#[test]
fn what_the_user_froze_stays_frozen() {
    let costs = Script::new(12, 4, 6).with_costs();
    for listed in all() {
        let mut script = costs.again();
        let mut base = script.net.plan().clone();
        base.freeze("3").and_then(|plan| plan.train("5", 0.5)).expect("a plan");
        script.net.apply(&base, &mut []).expect("applied");
        let decisions = script.play(&mut playable(listed), &mut |_, _, _| Ok(()));
        for decision in decisions.unwrap_or_else(|error| panic!("{}: {error}", listed.name)) {
            let state = |leaf| decision.plan.state(leaf).expect("a leaf");
            assert!(state(3).is_frozen(), "{}", listed.name);
        }
    }
}

/// A policy that is made anew at every step from its state as text decides as one that goes on.
#[test]
fn resumed_at_every_step_each_decides_the_same() {
    for (leaves, epochs, steps) in RUNS {
        let costs = Script::new(leaves, epochs, steps).with_costs();
        for listed in all() {
            let play = |between: super::script::Between<'_>| {
                let played = costs.again().play(&mut playable(listed), between);
                played.unwrap_or_else(|error| panic!("{}: {error}", listed.name))
            };
            let whole = play(&mut |_, _, _| Ok(()));
            let resumed = play(&mut |policy, at, _| {
                let text = policy.state().to_string();
                let read = serde_json::from_str(&text).expect("a state is JSON");
                assert_eq!(read, policy.state(), "{}: as text", listed.name);
                let mut fresh = playable(listed);
                fresh.load_state(&read)?;
                assert_eq!(fresh.state(), read, "{} {at:?}: as loaded", listed.name);
                *policy = fresh;
                Ok(())
            });
            assert_eq!(whole, resumed, "{} over {leaves} leaves", listed.name);
        }
    }
}

#[test]
fn asked_twice_each_says_the_same() {
    let costs = Script::new(12, 3, 8).with_costs();
    for listed in all() {
        let played = costs.again().play(&mut playable(listed), &mut |policy, at, script| {
            let first = policy.decide(at, script.net.base())?;
            let state = policy.state();
            let second = policy.decide(at, script.net.base())?;
            assert_eq!(first, second, "{} at {at:?}", listed.name);
            assert_eq!(state, policy.state(), "{} at {at:?}", listed.name);
            Ok(())
        });
        played.unwrap_or_else(|error| panic!("{}: {error}", listed.name));
    }
}

#[test]
fn a_foreign_state_is_refused_and_changes_nothing() {
    let rows = [json!(7), json!("text"), json!([1, 2]), json!({ "nothing": { "of": "this" } })];
    let costs = Script::new(12, 4, 5).with_costs();
    for listed in all() {
        let mut policy = playable(listed);
        costs.again().play(&mut policy, &mut |_, _, _| Ok(())).expect(listed.name);
        let before = policy.state();
        for foreign in &rows {
            let refused = policy.load_state(foreign).map_err(|error| error.to_string());
            let refused = refused.expect_err(listed.name);
            let expected = "the saved state does not fit the policy ";
            assert!(refused.starts_with(expected), "{}: {refused}", listed.name);
            assert_eq!(policy.state(), before, "{} after {foreign}", listed.name);
        }
    }
}

/// To renew the file: `cargo test --test policy -- --ignored write_the_list_of_defaults`.
#[test]
fn the_list_of_defaults_is_current() {
    assert!(
        doc("policies.toml") == defaults_toml(),
        "docs/policies.toml is not what `defaults_toml` writes"
    );
}

#[test]
#[ignore = "writes docs/policies.toml"]
fn write_the_list_of_defaults() {
    std::fs::write(path("policies.toml"), defaults_toml()).expect("written");
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn doc(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect(name)
}

#[test]
fn a_section_of_the_list_makes_the_policy() {
    let listed: toml::Table = toml::from_str(&defaults_toml()).expect("TOML");
    assert_eq!(listed.len(), all().count());
    for policy in all() {
        let section = listed.get(policy.name).expect(policy.name).clone();
        let mut settings = serde_json::to_value(section).expect("values");
        settings["policy"] = policy.name.into();
        let built = from_value(settings).unwrap_or_else(|error| panic!("{}: {error}", policy.name));
        assert_eq!(built.describe(), of_defaults(policy).describe());
    }
}

#[test]
fn each_has_a_section_in_the_guide() {
    let guide = doc("POLICIES.md");
    for listed in all() {
        let title = format!("\n### {}\n", listed.name);
        assert!(guide.contains(&title), "docs/POLICIES.md has no section `### {}`", listed.name);
    }
}
