//! The slanted triangle against what was recorded of the paper and of the codes of it.

use freeze_core::policy::{Triangle, slanted_triangle};
use proptest::prelude::*;

use super::rig::{count, is_marked, number, recorded, refused, rows};

/// Columns: T, cut_frac, ratio, lr_max, t, cut, p, lr, lr_fastai, lr_allennlp, marks.
#[test]
fn equals_every_recorded_row() {
    let golden = recorded(include_str!("../../data/policies/ulmfit_stlr.json"));
    let (mut paper, mut fastai, mut allennlp, mut refusals) = (0, 0, 0, 0);
    for row in rows(&golden["rows"]) {
        let (steps, step, lr) = (count(&row[0]), count(&row[4]), number(&row[3]));
        let triangle = Triangle { cut_frac: number(&row[1]), ratio: number(&row[2]) };
        let share = slanted_triangle(triangle, step, steps);
        if is_marked(&row[10], "cut_zero") {
            let expected = "at least 1 / `cut_frac`, so that the rate rises for a step";
            assert_eq!(refused(share), format!("`steps` is {steps}, expected {expected}"));
            refusals += 1;
            continue;
        }
        let share = share.expect("a share");
        assert!((1.0 / triangle.ratio - 1e-15..=1.0).contains(&share), "{share} of {row:?}");
        if is_marked(&row[10], "cut_frac_one") {
            assert_eq!(share, 1.0, "it rises to the end");
            continue;
        }
        if is_marked(&row[10], "ieee_trap") {
            // 29 hundredths of 100 steps are 29; there they are 28.
            let p = if step < 29 { step as f64 / 29.0 } else { (100 - step) as f64 / 71.0 };
            let expected = (1.0 + p * (triangle.ratio - 1.0)) / triangle.ratio;
            assert!((share - expected).abs() < 1e-14, "{share} for {expected} of {row:?}");
            continue;
        }
        let equals = |cell: &serde_json::Value| (share * lr - number(cell)).abs() <= 1e-14 * lr;
        // Where `steps * cut_frac` is not whole, the paper falls too fast, and below 0 at last.
        let is_whole = (steps as f64 * triangle.cut_frac - count(&row[5]) as f64).abs() < 1e-9;
        if is_whole || step <= count(&row[5]) {
            assert!(equals(&row[7]), "{share} for the paper's {row:?}");
            paper += 1;
        } else {
            assert!(share * lr > number(&row[7]), "{share} for the paper's {row:?}");
        }
        for (cell, compared) in [(&row[8], &mut fastai), (&row[9], &mut allennlp)] {
            if !cell.is_null() {
                assert!(equals(cell), "{share} for {cell} of {row:?}");
                *compared += 1;
            }
        }
    }
    let compared = (paper, fastai, allennlp, refusals);
    assert!(paper > 120 && fastai > 80 && allennlp > 120 && refusals > 20, "{compared:?}");
}

#[test]
fn refuses_numbers_that_make_no_sense() {
    for (cut_frac, ratio, what) in [
        (0.0, 32.0, "`cut_frac` is 0, expected a number above 0 and up to 1"),
        (1.1, 32.0, "`cut_frac` is 1.1, expected a number above 0 and up to 1"),
        (f64::NAN, 32.0, "`cut_frac` is NaN, expected a number above 0 and up to 1"),
        (0.1, 0.5, "`ratio` is 0.5, expected a finite number of at least 1"),
        (0.1, f64::INFINITY, "`ratio` is inf, expected a finite number of at least 1"),
    ] {
        assert_eq!(refused(slanted_triangle(Triangle { cut_frac, ratio }, 0, 100)), what);
    }
    let past = slanted_triangle(Triangle::default(), 101, 100);
    assert_eq!(refused(past), "`step` is 101, expected at most the steps of the run");
    assert!(slanted_triangle(Triangle::default(), 0, 0).is_err());
}

proptest! {
    #[test]
    fn rises_to_the_highest_rate_once_and_stays_in_range(
        cut_frac in 0.01..=1.0_f64,
        ratio in 1.0..1000.0_f64,
        steps in 100_usize..2000,
    ) {
        let triangle = Triangle { cut_frac, ratio };
        let shares: Vec<f64> = (0..=steps)
            .map(|step| slanted_triangle(triangle, step, steps).expect("a share"))
            .collect();
        let highest = shares.iter().position(|share| *share == 1.0).expect("the highest rate");
        prop_assert!(shares[..=highest].is_sorted());
        prop_assert!(shares[highest..].is_sorted_by(|a, b| a >= b));
        prop_assert!(shares.iter().all(|share| *share >= (1.0 - 1e-12) / ratio));
        prop_assert!(highest == steps || shares[steps] * ratio < 1.0 + 1e-9);
    }
}
