//! Laws that hold for any run.

use freeze_core::policy::{QuietFront, best_scores, least_changed, relative_rates, slope};
use freeze_core::{Decision, LeafState};
use proptest::prelude::*;

use super::rig::{Script, frozen, model, numbered, policy};

/// Whether each plan freezes what the one before froze.
fn never_thaws(decisions: &[Decision]) -> bool {
    decisions.windows(2).all(|pair| {
        let (before, after) = (frozen(&pair[0].plan), frozen(&pair[1].plan));
        before.iter().all(|leaf| after.contains(leaf))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn auto_freeze_never_thaws_and_keeps_its_cap(
        leaves in 1usize..30,
        windows in 2usize..30,
        percentile in 0.0f64..=100.0,
        cap in 0.05f64..=1.0,
    ) {
        let settings = format!(
            r#"{{"policy": "auto-freeze", "windows": {windows}, "percentile": {percentile},
                "cap": {cap}, "by": "leaf"}}"#
        );
        let decisions = Script::new(&numbered(leaves), 3, 21).run(&mut policy(&settings));
        prop_assert!(never_thaws(&decisions));
        let mut before = 0;
        for decision in &decisions {
            let now = frozen(&decision.plan);
            prop_assert_eq!(&now, &(0..now.len()).collect::<Vec<_>>());
            prop_assert!(now.len() < leaves);
            prop_assert!((now.len() - before) as f64 <= cap * (leaves - before) as f64);
            before = now.len();
        }
    }

    #[test]
    fn grad_es_never_thaws_and_waits(alpha in 0.0f64..=1.0, patience in 1usize..4, tau in 0.001f64..0.5) {
        let settings = format!(
            r#"{{"policy": "grad-es", "alpha": {alpha}, "patience": {patience}, "tau": {tau}}}"#
        );
        let decisions = Script::new(&model(4), 2, 20).run(&mut policy(&settings));
        prop_assert!(never_thaws(&decisions));
        // One check to measure from, and `patience` past the grace period.
        let first = ((alpha * 20.0) as usize).max(2) + patience - 1;
        for (step, decision) in (1..).zip(&decisions) {
            prop_assert!(step >= first || frozen(&decision.plan).is_empty(), "{} {}", step, first);
            prop_assert_eq!(decision.ends_run, frozen(&decision.plan).len() == 10);
        }
    }

    #[test]
    fn ils_freezes_as_many_as_asked_and_all_get_a_turn(leaves in 1usize..20, rate in 0.0f64..1.0) {
        let settings = format!(r#"{{"policy": "ils", "rate": {rate}}}"#);
        let decisions = Script::new(&numbered(leaves), 1, 20).run(&mut policy(&settings));
        let mut untrained: Vec<usize> = (0..leaves).collect();
        for decision in &decisions {
            let frozen = frozen(&decision.plan);
            prop_assert_eq!(frozen.len(), (rate * leaves as f64) as usize);
            untrained.retain(|leaf| frozen.contains(leaf));
        }
        prop_assert!(untrained.is_empty(), "{:?} never trained", untrained);
    }

    #[test]
    fn rates_are_shares(batches in 1usize..6, leaves in 1usize..10) {
        for name in ["rgn", "snr"] {
            let settings = format!(r#"{{"policy": "{name}", "batches": {batches}}}"#);
            for decision in Script::new(&numbered(leaves), 4, 24).run(&mut policy(&settings)) {
                let shares: Vec<f64> = (decision.plan.states().iter())
                    .map(|state| match state {
                        LeafState::Frozen => 0.0,
                        LeafState::Trained { lr_scale } => *lr_scale,
                    })
                    .collect();
                prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
                prop_assert!(name == "snr" || shares.contains(&1.0));
            }
        }
    }

    #[test]
    fn arithmetic_keeps_its_bounds(
        values in proptest::collection::vec(0.0f64..10.0, 1..20),
        percent in 0.0f64..=100.0,
    ) {
        let later: Vec<f64> = values.iter().rev().copied().collect();
        let front = QuietFront::of(&values, &later, percent);
        prop_assert!(front.quiet < values.len());
        let known: Vec<f64> = front.ratios.iter().copied().flatten().collect();
        if let Some(threshold) = front.threshold {
            prop_assert!(known.iter().any(|ratio| *ratio <= threshold));
            prop_assert!(known.iter().any(|ratio| *ratio >= threshold));
        }
        let (best, least) = (best_scores(&values, percent), least_changed(&values, percent / 100.0));
        prop_assert!(best.len() <= values.len() && least.len() <= values.len());
        let worst = best.iter().map(|&at| values[at]).fold(f64::INFINITY, f64::min);
        let others = (0..values.len()).filter(|at| !best.contains(at));
        prop_assert!(others.into_iter().all(|at| values[at] <= worst));
        let shares = relative_rates(&values.iter().copied().map(Some).collect::<Vec<_>>());
        prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        // A line has its own slope.
        let line: Vec<f64> = (0..values.len()).map(|at| percent * at as f64).collect();
        let expected = if values.len() > 1 { percent } else { 0.0 };
        prop_assert!((slope(&line) - expected).abs() < 1e-9 * (1.0 + percent));
    }
}
