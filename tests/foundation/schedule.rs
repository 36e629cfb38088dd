//! The linear schedule against every row recorded from the reference, and its refusals.

use freeze_core::policy::{Linear, Policy};
use freeze_core::{Elapsed, FreezePlan};
use serde::Deserialize;

use crate::support::Mlp;

#[derive(Deserialize)]
struct Golden {
    columns: Vec<String>,
    rows: Vec<(usize, f64, f64, f64, usize, f64)>,
    ieee_traps: serde_json::Value,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../data/schedule.json")).expect("schedule.json")
}

#[test]
fn equals_every_recorded_row_bit_for_bit() {
    let golden = golden();
    assert_eq!(
        golden.columns,
        [
            "n_leaf_layers",
            "freeze_start",
            "freeze_level",
            "current_duration",
            "freeze_depth",
            "freeze_percentage"
        ]
    );
    assert!(golden.rows.len() > 1000, "only {} rows", golden.rows.len());
    for (leaves, start, level, duration, depth, percentage) in golden.rows {
        let (d, p) = Linear::new(start, level).and_then(|s| s.at(duration, leaves)).expect("valid");
        let row = format!("{leaves} leaves, {start}, {level}, {duration}");
        assert_eq!(d, depth, "depth at {row}");
        assert_eq!(p.to_bits(), percentage.to_bits(), "percentage at {row}: {p} and {percentage}");
    }
    assert!(!golden.ieee_traps.is_null());
}

#[test]
fn refuses_numbers_that_make_no_sense() {
    let nan = f64::NAN;
    for (start, level, what) in [
        (1.0, 1.0, "`freeze_start` is 1, expected a number of at least 0 and less than 1"),
        (-0.1, 1.0, "`freeze_start` is -0.1, expected a number of at least 0 and less than 1"),
        (nan, 1.0, "`freeze_start` is NaN, expected a number of at least 0 and less than 1"),
        (
            f64::INFINITY,
            1.0,
            "`freeze_start` is inf, expected a number of at least 0 and less than 1",
        ),
        (0.5, 1.1, "`freeze_level` is 1.1, expected a number from 0 to 1"),
        (0.5, -1e-9, "`freeze_level` is -1e-9, expected a number from 0 to 1"),
        (0.5, nan, "`freeze_level` is NaN, expected a number from 0 to 1"),
    ] {
        assert_eq!(Linear::new(start, level).expect_err("refused").to_string(), what);
    }
    let schedule = Linear::new(0.5, 1.0).expect("valid");
    for duration in [-0.1, 1.1, nan, f64::NEG_INFINITY] {
        assert!(schedule.at(duration, 4).is_err(), "{duration}");
    }
    assert_eq!(schedule.at(1.0, 0).expect("no leaves"), (0, 1.0));
}

#[test]
fn progress_is_checked() {
    for (elapsed, fraction) in [
        (Elapsed::new(0, 4), Some(0.0)),
        (Elapsed::new(4, 4), Some(1.0)),
        (Elapsed::new(0, 4).at_step(3, 8), Some(0.375)),
        (Elapsed::new(5, 4), None),
        (Elapsed::new(0, 0), None),
        (Elapsed::new(0, 4).at_step(9, 8), None),
    ] {
        assert_eq!(elapsed.fraction().ok(), fraction, "{elapsed:?}");
    }
}

#[test]
fn refines_what_was_set_by_hand() {
    let model = Mlp::new(5, 2).expect("a model");
    let mut base = FreezePlan::all_trained(&model).expect("a plan");
    base.freeze("layers.3").and_then(|p| p.train("layers.4", 0.5)).expect("a plan");
    let scheduled = Linear::new(0.0, 1.0)
        .and_then(|mut s| s.decide(Elapsed::new(2, 4), &base))
        .expect("scheduled");
    assert_eq!((scheduled.depth(), scheduled.percentage()), (2, 0.5));
    let mut expected = base.clone();
    expected.freeze("layers.[01]").expect("a plan");
    assert_eq!(scheduled.plan, expected);
}
