//! What the official codes of surgical fine-tuning and Spectrum decide.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor, Var};
use freeze_core::policy::{
    Observation, Seen, Settings, SingularScore, SpectrumSettings, gradient_signal_to_noise,
    relative_gradient, relative_rates,
};
use freeze_core::{Elapsed, Policy};
use serde_json::Value;

use super::rig::{close, flat, frozen, golden, has_mark, list, plan};

fn norm(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum::<f64>().sqrt()
}

/// The mean over the first five batches.
fn mean(case: &Value, of: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
    let batches = list(&case["gradients"]);
    let batches = &batches[..batches.len().min(5)];
    let sum: Option<f64> = batches.iter().map(of).sum();
    Some(sum? / batches.len() as f64)
}

#[test]
fn rates_are_those_of_the_official_code() {
    for case in list(&golden("rgn")["cases"]) {
        let (rows, is_rgn) = (list(&case["rows"]), case["rule"] == "RGN");
        let metric = |at: usize| match is_rgn {
            true => {
                let weights = norm(&flat(&case["weights"][at]));
                mean(case, |batch| relative_gradient(norm(&flat(&batch[at])), weights))
            }
            false => {
                let rows = case["shapes"][at][0].as_u64().expect("a count") as usize;
                mean(case, |batch| gradient_signal_to_noise(&flat(&batch[at]), rows))
            }
        };
        // What is excluded here by the letters `bn` the user names by a pattern.
        let trained: Vec<usize> = (0..rows.len())
            .filter(|&at| !case["names"][at].as_str().expect("a name").contains("bn"))
            .collect();
        let metrics: Vec<Option<f64>> = trained.iter().map(|&at| metric(at)).collect();
        let shares = match is_rgn {
            true => relative_rates(&metrics),
            false => {
                let share = |ratio: &Option<f64>| match ratio {
                    Some(ratio) if *ratio < 0.95 => 0.0,
                    _ => 1.0,
                };
                metrics.iter().map(share).collect()
            }
        };
        let rate = case["base_lr"].as_f64().expect("a rate");
        for ((&at, metric), share) in trained.iter().zip(&metrics).zip(shares) {
            let (row, what) = (&rows[at], format!("{}, {}", case["name"], rows[at][0]));
            if has_mark(&case["marks"], "zero_norm") {
                // Departure: a tensor of zeros trains at the full rate, the largest of the others too.
                assert_eq!((share, row[2].is_null()), (1.0, true), "{what}");
            } else if has_mark(&case["marks"], "all_zero") {
                // Departure: the rates stay as they are.
                assert_eq!((share, &row[2]), (1.0, &Value::from("nan")), "{what}");
            } else {
                close(rate * share, &row[2], 1e-12, &what);
                match metric {
                    Some(metric) => close(*metric, &row[1], 1e-12, &what),
                    // Departure: one row has no variance, and not a ratio of NaN.
                    None => assert_eq!(row[1], "nan", "{what}"),
                }
            }
        }
    }
}

/// What the policy trains of the modules of a case, shown as leaves.
fn chosen(case: &Value, percent: f64) -> BTreeSet<String> {
    let weights = list(&case["weights"]);
    let paths: Vec<&str> = weights.iter().filter_map(|weight| weight[0].as_str()).collect();
    let base = plan(&paths);
    let mut policy = SpectrumSettings { percent, ..Default::default() }.policy().expect("settings");
    let mut seen = Observation::at_start(Elapsed::new(0, 1).at_step(0, 10));
    for (leaf, weight) in weights.iter().enumerate() {
        let numbers = flat(&weight[1]);
        let shape = match weight[1][0].is_array() {
            true => vec![list(&weight[1]).len(), list(&weight[1][0]).len()],
            false => vec![numbers.len()],
        };
        let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).expect("a tensor");
        let var = Var::from_tensor(&tensor).expect("a variable");
        seen = seen.tensor(Seen::new(leaf, paths[leaf], 1).var(var));
    }
    policy.observe(&seen).expect("finite numbers");
    let decision = policy.decide(Elapsed::new(0, 1), &base).expect("a decision");
    let frozen = frozen(&decision.plan);
    (0..paths.len()).filter(|at| !frozen.contains(at)).map(|at| paths[at].into()).collect()
}

#[test]
fn spectrum_scores_as_the_official_code() {
    for case in list(&golden("spectrum")["cases"]) {
        for row in list(&case["rows"]) {
            let what = format!("{}, {}", case["name"], row[0]);
            let weight = list(&case["weights"]).iter().find(|weight| weight[0] == row[0]);
            let weight = weight.unwrap_or_else(|| panic!("{what}: no weight"));
            if has_mark(&row[7], "one_dimension") {
                continue;
            }
            let (matrix, rows) = (flat(&weight[1]), list(&weight[1]).len());
            let ours = SingularScore::of(&matrix, rows, matrix.len() / rows).expect("a matrix");
            if has_mark(&row[7], "noise_zero") {
                // Departure: zeros as noise are no noise, so that no score is infinite.
                assert_eq!(row[5], "inf", "{what}");
                assert!(ours.score.is_finite() && ours.snr.is_finite(), "{what}");
                continue;
            }
            if has_mark(&row[7], "degenerate") {
                continue;
            }
            for (ours, theirs) in ours.values.iter().zip(list(&row[2])) {
                close(*ours, theirs, 1e-9, &what);
            }
            assert_eq!(ours.values.len(), list(&row[2]).len(), "{what}");
            close(ours.sigma, &row[3], 1e-9, &what);
            close(ours.threshold, &row[4], 1e-9, &what);
            close(ours.snr, &row[5], 1e-9, &what);
            close(ours.score, &row[6], 1e-9, &what);
        }
    }
}

#[test]
fn spectrum_chooses_as_the_official_code() {
    for case in list(&golden("spectrum")["cases"]) {
        let marked = |mark| has_mark(&case["marks"], mark);
        if marked("substring") || marked("degenerate") {
            continue;
        }
        for percent in ["25", "50", "75"] {
            let names = list(&case["chosen"][percent]).iter().filter_map(Value::as_str);
            // Departure: vectors are not ranked.
            let theirs: BTreeSet<String> =
                names.filter(|name| !name.ends_with("norm")).map(String::from).collect();
            let ours = chosen(case, percent.parse().expect("a number"));
            assert_eq!(ours, theirs, "{} at {percent}", case["name"]);
        }
    }
}

#[test]
fn types_are_compared_whole_and_zeros_come_last() {
    let golden = golden("spectrum");
    let marked = |mark| {
        let marked = move |case: &&Value| has_mark(&case["marks"], mark);
        list(&golden["cases"]).iter().filter(marked).collect::<Vec<_>>()
    };
    // The order of the types does not matter: each has the same modules.
    let pair = marked("substring");
    assert_eq!(pair.len(), 2);
    for percent in ["25", "50", "75"] {
        let theirs = pair.iter().map(|case| &case["chosen"][percent]).collect::<Vec<_>>();
        assert_ne!(theirs[0], theirs[1]);
        let number = percent.parse().expect("a number");
        let (ours, other) = (chosen(pair[0], number), chosen(pair[1], number));
        assert_eq!(ours, other);
        let gates = ours.iter().filter(|name| name.ends_with("mlp.gate")).count();
        assert_eq!(gates * 2, ours.len(), "as many of each type at {percent}");
    }
    for case in marked("noise_zero") {
        let zeros = |weight: &&Value| flat(&weight[1]).iter().all(|number| *number == 0.0);
        let zeros: Vec<&Value> = list(&case["weights"]).iter().filter(zeros).collect();
        assert!(!zeros.is_empty());
        let ours = chosen(case, 75.0);
        assert!(zeros.iter().all(|zero| !ours.contains(zero[0].as_str().expect("a name"))));
    }
}
