//! What is refused, by name, and with nothing changed.

use freeze_core::policy::{BudgetSettings, Settings, from_json};
use freeze_core::{Elapsed, Policy};
use serde_json::{Value, json};

use super::rig::{Cost, EVEN, Script, budget, costs, declared, plan, settings};

fn with(change: impl FnOnce(&mut BudgetSettings)) -> BudgetSettings {
    let mut changed = settings();
    change(&mut changed);
    changed
}

#[test]
fn settings_outside_their_range_are_refused_by_name() {
    let rows = [
        (with(|s| s.time = Some(0.0)), "`time` is 0, expected a number above 0 and at most 1"),
        (with(|s| s.time = Some(1.1)), "`time` is 1.1"),
        (with(|s| s.time = Some(f64::NAN)), "`time` is NaN"),
        (with(|s| s.every = 0.0), "`every` is 0"),
        (with(|s| s.every = f64::INFINITY), "`every` is inf"),
        (with(|s| s.probe = 0), "`probe` is 0, expected at least 1"),
        (with(|s| s.bytes = Some(0)), "`bytes` is 0"),
        (with(|s| s.time = None), "neither `time` nor `bytes` is set"),
    ];
    for (settings, expected) in rows {
        let error = settings.policy().expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let text = r#"{"policy": "budget", "time": 0.6, "bytes": 1000, "by": "leaf", "prefix": true}"#;
    let described = from_json(text).expect("a policy").describe();
    let every = 1.0 / 3.0;
    let expected = format!(
        "budget(time=0.6, bytes=1000, every={every}, probe=3, by leaves, only a front frozen)"
    );
    assert_eq!(described, expected);
    assert!(from_json(r#"{"policy": "budget", "tim": 0.6}"#).is_err());
}

#[test]
fn a_limit_that_nothing_fits_in_names_the_least_possible() {
    let even = costs(&[EVEN; 4], &[]);
    let rows = [
        // The last leaf alone takes 51 of 114, and 250 bytes.
        (with(|s| s.time = Some(0.44)), vec![], "the share 0.4474, the least memory 250 bytes"),
        (with(|s| s.bytes = Some(249)), vec![], "and 249 bytes; the least time"),
        // The first is declared `always`, and takes 81 of 114.
        (with(|s| s.time = Some(0.5)), vec![0], "the share 0.7105, the least memory 550 bytes"),
        (with(|s| (s.prefix, s.time) = (true, Some(0.44))), vec![], "the share 0.4474"),
    ];
    for (settings, always, expected) in rows {
        let base = declared(4, &always);
        let mut policy = budget(settings, &even);
        let before = policy.state();
        let at = Elapsed::new(0, 1).at_step(0, 30);
        let error = policy.decide(at, &base).expect_err("an error").to_string();
        assert!(error.starts_with("the policy `budget`: nothing can be trained within"), "{error}");
        assert!(error.contains(expected), "{error}");
        assert_eq!(policy.state(), before);
    }
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let even = costs(&[EVEN; 4], &[]);
    let at = |step, steps| Elapsed::new(0, 1).at_step(step, steps);
    let without = settings().policy().expect("a policy");
    let blind = costs(&[EVEN; 4], &[0, 1, 2, 3]);
    let of = |costs| budget(settings(), costs);
    let rows = [
        (without, at(0, 30), 4, "it has no costs to go by"),
        (of(&even), at(0, 30), 3, "it has 3 leaves, the model 4"),
        (of(&blind), at(0, 30), 4, "the operations of `0`, `1`, `2`, `3` are not recorded"),
        (of(&even), Elapsed::new(0, 1), 4, "`Elapsed::at_step(step, steps)`"),
        (of(&even), at(0, 1), 4, "1 of them, of which looking takes 4: 1 x 4"),
        (of(&even), at(0, 12), 4, "4 of them, of which looking takes 4"),
        (of(&even), at(31, 30), 4, "`step` is 31"),
    ];
    for (mut policy, at, leaves, expected) in rows {
        let before = policy.state();
        let error = policy.decide(at, &plan(leaves)).expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(policy.state(), before, "{expected}");
    }
}

#[test]
fn numbers_that_are_infinite_or_nan_change_nothing() {
    let even = costs(&[EVEN; 2], &[]);
    let base = plan(2);
    for bad in [f64::NAN, f64::INFINITY, f64::MAX] {
        let mut policy = budget(with(|settings| settings.time = Some(1.0)), &even);
        let good = Script { base: &base, steps: 30, drop: &|_, _| 1.0 };
        good.begin(&mut policy).expect("a plan");
        good.step(&mut policy, 0, &base).expect("a step");
        // The first leaf is fine, and the second must not leave it half taken. Sums overflow.
        let drop = |_, leaf| if leaf == 1 { bad } else { 0.5 };
        let script = Script { base: &base, steps: 30, drop: &drop };
        let seen = script.shown(1, &base);
        if bad == f64::MAX {
            policy.observe(&seen).expect("one of them is a number");
        }
        let before = policy.state();
        let error = policy.observe(&script.shown(2, &base)).expect_err("an error").to_string();
        assert!(error.contains("of `1`, which is"), "{error}");
        assert_eq!(policy.state(), before);
    }
}

#[test]
fn a_state_of_another_kind_is_refused_and_nothing_changes() {
    let even = costs(&[EVEN; 2], &[]);
    let mut policy = budget(settings(), &even);
    let before = policy.state();
    let spoiled = |at: &str, value: Value| {
        let mut state = before.clone();
        *state.pointer_mut(at).expect("a place") = value;
        state
    };
    let nan = json!([[f64::NAN.to_bits(), 1]]);
    let rows = [
        (json!(null), "invalid type: null"),
        (json!({"linear": 1}), "unknown field `linear`"),
        (spoiled("/rounds", json!(0)), "it looks in no round"),
        (spoiled("/costs/calls/0/leaves/0", json!(7)), "costs of leaf 7"),
        (spoiled("/drops/leaves", nan), "a drop of the loss is NaN"),
    ];
    for (state, expected) in rows {
        let error = policy.load_state(&state).expect_err("an error").to_string();
        assert!(error.contains("does not fit the policy budget(time=0.5"), "{error}");
        assert!(error.contains(expected), "{error}");
        assert_eq!(policy.state(), before);
    }
}

#[test]
fn models_without_leaves_and_of_many_are_no_matter() {
    let none = costs(&[], &[]);
    let base = plan(0);
    let script = Script { base: &base, steps: 30, drop: &|_, _| 1.0 };
    let decided = script.run(&mut budget(settings(), &none), |_, _| {});
    assert!(decided.iter().all(|(_, decision)| decision.plan == base));

    let one = costs(&[EVEN], &[]);
    let script = Script { base: &plan(1), steps: 30, drop: &|_, _| -1.0 };
    let full = with(|settings| settings.time = Some(1.0));
    let decided = script.run(&mut budget(full, &one), |_, _| {});
    assert!(decided.iter().all(|(_, decision)| decision.plan.frozen_leaves() == 0));

    // Costs without a pattern, and both limits.
    let mixed = |leaf: usize| Cost {
        forward: 5 + (leaf * 7 % 11) as u64,
        input: 3 + (leaf * 5 % 13) as u64,
        weight: 1 + (leaf * 3 % 17) as u64,
        output: 100 + leaf * 31 % 97,
        bytes: 10 + leaf * 53 % 89,
    };
    let leaves: Vec<Cost> = (0..800).map(mixed).collect();
    let many = costs(&leaves, &[]);
    let base = plan(800);
    let drop = |_, leaf: usize| ((leaf * 37 + 11) % 101) as f64 / 100.0 - 0.1;
    let script = Script { base: &base, steps: 100, drop: &drop };
    let both = with(|s| (s.time, s.bytes, s.every) = (Some(0.6), Some(90_000), 1.0));
    let decided = script.run(&mut budget(both, &many), |_, _| {});
    let (_, chosen) = decided.last().expect("a choice");
    let forecast = many.forecast(&chosen.plan).expect("a forecast");
    assert!(forecast.step_ratio.is_some_and(|share| share <= 0.6 + 1e-12));
    assert!(super::rig::bytes(&forecast) <= 90_000);
    assert!(chosen.metrics["budget/gap"] <= 0.01, "{:?}", chosen.metrics);
}
