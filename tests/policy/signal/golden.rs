//! What the official codes of AutoFreeze, GradES and SlimFit decide.

use std::collections::BTreeMap;

use freeze_core::policy::{
    AutoFreezeSettings, By, GradEsSettings, IlsSettings, Moment, Observation, QuietFront, Seen,
    Settings, least_changed, relative_update,
};
use freeze_core::{Elapsed, Policy};
use serde_json::{Value, json};

use super::rig::{close, flat, frozen, golden, has_mark, l1, list, numbered, plan};

#[test]
fn auto_freeze_decides_as_the_official_code() {
    for case in list(&golden("autofreeze")["cases"]) {
        let name = &case["name"];
        let (gradients, rows) = (list(&case["gradients"]), list(&case["rows"]));
        let percentile = case["percentile"].as_f64().expect("a number");
        let layers = case["n_layers"].as_u64().expect("a count") as usize;
        let base = numbered(layers);
        let (windows, by) = (gradients.len().max(2), By::Leaf);
        let settings = AutoFreezeSettings { windows, percentile, cap: None, by };
        let mut policy = settings.policy().expect("settings");
        let (mut first, mut before) = (0, Vec::new());
        for (window, row) in rows.iter().enumerate() {
            let what = format!("{name}, window {window}");
            let at = Elapsed::new(0, 1).at_step(window + 1, windows);
            let mut now = vec![0.0; layers];
            let mut seen = Observation::after_step(at, 1.0);
            for leaf in first..layers {
                for tensor in list(&gradients[window][leaf]) {
                    let sum: f64 = flat(tensor).iter().map(|number| number.abs()).sum();
                    now[leaf] += sum;
                    seen = seen.tensor(Seen::new(leaf, "w", 1).gradient_sum(l1(sum)));
                }
            }
            policy.observe(&seen).expect("finite numbers");
            assert!(policy.is_due(at, Moment::Step), "{what}");
            let decision = policy.decide(at, &base).expect("a decision");
            let ours = frozen(&decision.plan);
            // Departures: nothing thaws, and a layer whose gradients were all 0 trains on.
            if has_mark(&row[5], "threshold_zero") {
                assert!(row[4].as_u64() < Some(first as u64), "{what}: it thaws");
                assert_eq!(ours, (0..first).collect::<Vec<_>>(), "{what}");
                before = now;
                continue;
            }
            if has_mark(&row[5], "previous_zero") {
                assert!(row[4].is_null(), "{what}: it dies");
                assert!(ours.len() >= first && ours.len() < layers, "{what}");
                break;
            }
            for (ours, theirs) in now.iter().zip(list(&row[1])) {
                close(*ours, theirs, 1e-12, &what);
            }
            if window > 0 {
                let front = QuietFront::of(&before[first..], &now[first..], percentile);
                for (ours, theirs) in front.ratios.iter().zip(&list(&row[2])[first..]) {
                    close(ours.expect("a ratio"), theirs, 1e-9, &what);
                }
                close(front.threshold.expect("a threshold"), &row[3], 1e-9, &what);
                close(decision.metrics["auto_freeze/threshold"], &row[3], 1e-9, &what);
                first += front.quiet;
            }
            assert_eq!(row[4].as_u64(), Some(first as u64), "{what}");
            assert_eq!(ours, (0..first).collect::<Vec<_>>(), "{what}");
            before = now;
        }
    }
}

#[test]
fn grad_es_decides_as_the_official_code() {
    for case in list(&golden("grades")["cases"]) {
        let number = |name: &str| case[name].as_f64();
        let count = |name: &str| case[name].as_u64().expect("a count") as usize;
        let components: Vec<&str> =
            list(&case["components"]).iter().filter_map(Value::as_str).collect();
        let taus = [("vision*", "vision_tau"), ("language*", "language_tau")];
        let settings = GradEsSettings {
            tau: number("tau").unwrap_or(1.0),
            taus: taus
                .iter()
                .filter_map(|(pattern, name)| Some((pattern.to_string(), number(name)?)))
                .collect(),
            relative: false,
            alpha: number("alpha").expect("a number"),
            patience: 1,
            interval: count("compute_interval"),
            max_frozen: number("max_frozen_ratio").expect("a number"),
        };
        let (base, steps) = (plan(&components), count("total_steps"));
        let mut policy = settings.policy().expect("settings");
        let mut last: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        let mut ours = Vec::new();
        for (row, weights) in list(&case["rows"]).iter().zip(list(&case["weights_if_trained"])) {
            let step = row[0].as_u64().expect("a step") as usize;
            let what = format!("{}, step {step}", case["name"]);
            let at = Elapsed::new(0, 1).at_step(step, steps);
            let mut seen = Observation::after_step(at, 1.0);
            let is_check = step.is_multiple_of(count("compute_interval"));
            for leaf in (0..components.len()).filter(|leaf| is_check && !ours.contains(leaf)) {
                let now = flat(&weights[leaf]);
                if let Some(before) = last.insert(leaf, now.clone()) {
                    let change: f64 =
                        now.iter().zip(before).map(|(now, old)| (now - old).abs()).sum();
                    assert!((change - row[1][leaf].as_f64().expect("one")).abs() < 1e-12, "{what}");
                    seen = seen.tensor(Seen::new(leaf, "w", 1).weight_change(l1(change)));
                }
            }
            policy.observe(&seen).expect("finite numbers");
            assert_eq!(policy.is_due(at, Moment::Step), is_check, "{what}");
            let decision = policy.decide(at, &base).expect("a decision");
            ours = frozen(&decision.plan);
            // Departure: the first check measures nothing, so it freezes nothing.
            if has_mark(&row[4], "first_check_freezes_all") {
                assert_eq!((list(&row[2]).len(), &row[3]), (components.len(), &json!(true)));
                assert!(ours.is_empty() && !decision.ends_run, "{what}: {ours:?}");
                break;
            }
            assert_eq!(json!(ours), row[2], "{what}");
            assert_eq!(json!(decision.ends_run), row[3], "{what}");
        }
    }
}

#[test]
fn ils_decides_as_the_official_code() {
    for case in list(&golden("slimfit_ils")["cases"]) {
        let tensors = case["n_tensors"].as_u64().expect("a count") as usize;
        let rate = case["rate"].as_f64().expect("a number");
        let base = numbered(tensors);
        let mut policy = IlsSettings { rate, ..Default::default() }.policy().expect("settings");
        let initial = flat(&case["initial_d"]);
        let changes: BTreeMap<usize, f64> = initial.into_iter().enumerate().collect();
        policy.load_state(&json!({ "changes": changes })).expect("a state");
        let mut weights: Vec<Vec<f64>> = list(&case["initial_weights"]).iter().map(flat).collect();
        for (row, next) in list(&case["rows"]).iter().zip(list(&case["weights_if_trained"])) {
            let step = row[0].as_u64().expect("a step") as usize;
            let what = format!("{}, step {step}", case["name"]);
            let at = Elapsed::new(0, 1).at_step(step, 1000);
            let decision = policy.decide(at, &base).expect("a decision");
            let ours = frozen(&decision.plan);
            assert_eq!(Some(ours.len() as u64), case["n_frozen"].as_u64(), "{what}");
            let mut seen = Observation::after_step(at.at_step(step + 1, 1000), 1.0);
            for leaf in (0..tensors).filter(|leaf| !ours.contains(leaf)) {
                let after = flat(&next[leaf]);
                let change = relative_update(&weights[leaf], &after);
                weights[leaf] = after;
                seen = seen.tensor(Seen::new(leaf, "w", 5).relative_update(change));
            }
            policy.observe(&seen).expect("finite numbers");
            let state = policy.state();
            let scores = (0..tensors).map(|leaf| &state["changes"][leaf.to_string()]);
            // Departure: an element of 0 counts as unchanged, so no score is infinite or NaN.
            if has_mark(&case["marks"], "zero_weight") {
                assert!(scores.into_iter().all(Value::is_number), "{what}");
                continue;
            }
            assert_eq!(json!(ours), row[1], "{what}");
            for (ours, theirs) in scores.zip(list(&row[2])) {
                close(ours.as_f64().expect("a score"), theirs, 1e-12, &what);
            }
        }
    }
}

#[test]
fn an_element_of_zero_counts_as_unchanged() {
    assert_eq!(relative_update(&[0.0, 2.0], &[1.0, 1.0]), 0.25);
    assert_eq!(relative_update(&[0.0], &[0.0]), 0.0);
    assert_eq!(relative_update(&[], &[]), 0.0);
}

#[test]
fn as_many_freeze_as_in_the_official_code() {
    let golden = golden("slimfit_ils");
    let rows = list(&golden["pitch"]["rows"]);
    assert!(!rows.is_empty());
    for row in rows {
        let (rate, tensors) = (row[0].as_f64().expect("a rate"), row[1].as_u64().expect("a count"));
        let ours = least_changed(&vec![0.0; tensors as usize], rate);
        assert_eq!(Some(ours.len() as u64), row[2].as_u64(), "{row}");
        // Of equal ones the first.
        assert_eq!(ours, (0..ours.len()).collect::<Vec<_>>(), "{row}");
    }
}
