//! Stopped after any step and resumed, each policy decides as if it had not been.

use freeze_core::Error;
use serde_json::{Value, json};

use super::rig::{POLICIES, Script, model, policy};

#[test]
fn a_policy_resumes_at_every_step() {
    let base = model(5);
    for settings in POLICIES {
        let whole = Script::new(&base, 4, 24).run(&mut policy(settings));
        let acted = whole.iter().any(|decision| decision.plan != base);
        assert!(acted, "{settings} does nothing, so this shows nothing");
        let (mut script, mut running) = (Script::new(&base, 4, 24), policy(settings));
        let mut made = script.begin(&mut running).len();
        for step in 1..=24 {
            made += usize::from(script.step(&mut running).is_some());
            let text = running.state().to_string();
            let saved: Value = serde_json::from_str(&text).expect("JSON");
            let mut resumed = policy(settings);
            resumed.load_state(&saved).unwrap_or_else(|error| panic!("{settings}: {error}"));
            assert_eq!(resumed.state(), running.state(), "{settings} at {step}");
            let mut rest = script.clone();
            let mut decisions = Vec::new();
            while rest.at.step < rest.at.steps {
                decisions.extend(rest.step(&mut resumed));
            }
            assert_eq!(decisions, whole[made..], "{settings} at {step}");
        }
    }
}

#[test]
fn a_state_of_another_policy_is_refused() {
    for settings in POLICIES {
        let mut mine = policy(settings);
        Script::new(&model(3), 2, 24).run(&mut mine);
        let before = mine.state();
        for foreign in [json!(null), json!({"no": 1}), json!([1]), json!("text")] {
            let refused = mine.load_state(&foreign);
            assert!(matches!(refused, Err(Error::PolicyState { .. })), "{settings}: {foreign}");
            assert_eq!(mine.state(), before, "{settings}: {foreign}");
        }
    }
}

#[test]
fn a_seed_decides_who_is_first() {
    let base = model(8);
    let first = |seed: u64| {
        let mut ils = policy(&format!(r#"{{"policy": "ils", "seed": {seed}}}"#));
        Script::new(&base, 1, 10).begin(&mut ils).remove(0).plan
    };
    assert_eq!(first(1), first(1));
    assert!((2..9).any(|seed| first(seed) != first(1)));
}
