//! Settings outside their range, and numbers that are infinite or NaN.

use candle_core::{Device, Tensor, Var};
use freeze_core::policy::{Observation, Output, Seen, from_json};
use freeze_core::{Elapsed, Error, Norms};

use super::rig::{POLICIES, matrix, model, policy};

#[test]
fn settings_outside_their_range_are_refused_by_name() {
    for (settings, name) in [
        (r#""auto-freeze", "windows": 1"#, "windows"),
        (r#""auto-freeze", "percentile": 100.5"#, "percentile"),
        (r#""auto-freeze", "cap": 0.0"#, "cap"),
        (r#""auto-freeze", "cap": 1.5"#, "cap"),
        (r#""grad-es", "tau": 0.0"#, "tau"),
        (r#""grad-es", "taus": [["a", -1.0]]"#, "taus"),
        (r#""grad-es", "alpha": 1.5"#, "alpha"),
        (r#""grad-es", "patience": 0"#, "patience"),
        (r#""grad-es", "interval": 0"#, "interval"),
        (r#""grad-es", "max-frozen": 0.0"#, "max_frozen"),
        (r#""ils", "rate": -0.1"#, "rate"),
        (r#""ils", "rate": 1.1"#, "rate"),
        (r#""rgn", "batches": 0"#, "batches"),
        (r#""snr", "batches": 0"#, "batches"),
        (r#""snr", "threshold": 0.0"#, "threshold"),
        (r#""spectrum", "percent": 101.0"#, "percent"),
        (r#""plasticity", "window": 1"#, "window"),
        (r#""plasticity", "average": 0"#, "average"),
        (r#""plasticity", "share": 0.0"#, "share"),
        (r#""plasticity", "refresh": 0"#, "refresh"),
        (r#""plasticity", "unfreeze-at": [1.0]"#, "unfreeze_at"),
        (r#""plasticity", "acts": {}"#, "steps"),
    ] {
        let refused = from_json(&format!(r#"{{"policy": {settings}}}"#)).err().expect(settings);
        assert!(refused.to_string().starts_with(&format!("`{name}` is ")), "{settings}: {refused}");
    }
}

#[test]
fn patterns_that_match_nothing_are_refused() {
    let at = Elapsed::new(0, 1).at_step(0, 24);
    for settings in [
        r#"{"policy": "rgn", "exclude": ["nothing"]}"#,
        r#"{"policy": "snr", "exclude": ["nothing"]}"#,
        r#"{"policy": "spectrum", "always": ["nothing"]}"#,
        r#"{"policy": "grad-es", "taus": [["nothing", 0.1]]}"#,
        r#"{"policy": "auto-freeze", "by": {"patterns": ["nothing"]}}"#,
    ] {
        let mut policy = policy(settings);
        policy.observe(&Observation::at_start(at)).expect("nothing to see");
        let refused = policy.decide(at, &model(1));
        assert!(matches!(refused, Err(Error::NoMatch { .. })), "{settings}");
    }
}

#[test]
fn numbers_that_are_not_finite_change_nothing() {
    for settings in POLICIES {
        for value in [f64::NAN, f64::INFINITY] {
            let mut policy = policy(settings);
            let is_spectrum = settings.contains("spectrum");
            let norms = Norms { l1: value, l2: value };
            let nan = Tensor::full(value, (2, 2), &Device::Cpu).expect("a tensor");
            let tensor = |leaf, norms, number| {
                Seen::new(leaf, format!("body.{leaf}.weight"), 4)
                    .gradient(norms)
                    .weight(norms)
                    .weight_change(norms)
                    .gradient_sum(norms)
                    .relative_update(number)
                    .signal_to_noise(number)
            };
            let good = tensor(0, Norms { l1: 1.0, l2: 1.0 }, 1.0);
            let bad = tensor(1, norms, value).var(Var::from_tensor(&nan).expect("a variable"));
            // Where windows end, whatever their number.
            let step = if settings.contains("auto-freeze") { 24 } else { 12 };
            let at = Elapsed::new(0, 2).at_step(if is_spectrum { 0 } else { step }, 24);
            let start = match is_spectrum {
                true => Observation::at_start(at),
                false => Observation::after_step(at, 1.0),
            };
            let (leaves, nan) = (4, matrix(1, 2, 2).broadcast_mul(&nan).expect("a product"));
            let outputs = vec![Output { leaves, tensor: nan }];
            let before = policy.state();
            let seen = start.tensor(good).tensor(bad).outputs(outputs);
            let refused = policy.observe(&seen).expect_err(settings);
            assert!(matches!(refused, Error::Observed { .. }), "{settings}: {refused}");
            assert!(
                refused.to_string().contains("`body.1.weight`")
                    || settings.contains("plasticity")
                        && refused.to_string().contains("probe batch"),
                "{settings}: {refused}"
            );
            assert_eq!(policy.state(), before, "{settings}");
        }
    }
}

#[test]
fn a_policy_that_has_not_seen_the_weights_says_so() {
    let mut spectrum = policy(r#"{"policy": "spectrum"}"#);
    let refused = spectrum.decide(Elapsed::new(0, 1), &model(1)).expect_err("nothing seen");
    assert!(refused.to_string().contains("has not seen the weights"), "{refused}");
}
