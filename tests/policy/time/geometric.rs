//! PipeTransformer's schedule against what its official code recorded, and by hand.

use freeze_core::policy::{Acts, By, Geometric, GeometricSettings, Moment, Settings};
use freeze_core::{Elapsed, LeafState, Policy};
use proptest::prelude::*;

use super::rig::{
    always, count, decided, frozen, is_marked, leaves, net, number, recorded, refused, rows, step,
};

fn policy(alpha: f64) -> Geometric {
    GeometricSettings { alpha, ..Default::default() }.policy().expect("a policy")
}

#[test]
fn equals_every_recorded_row() {
    let golden = recorded(include_str!("../../data/policies/geometric.json"));
    let (mut equal, mut exact) = (0, 0);
    for row in rows(&golden["rows"]) {
        let (n, epoch) = (count(&row[0]), count(&row[3]));
        let frozen = policy(number(&row[2])).frozen(epoch, n);
        if is_marked(&row[7], "alpha_one") {
            // There it divides by zero.
            assert_eq!(frozen, n);
            continue;
        }
        assert_eq!(frozen, count(&row[6]), "the exact count of {row:?}");
        if is_marked(&row[7], "ieee_trap") {
            assert_eq!(frozen + 1, count(&row[4]), "there, rounding freezes one more: {row:?}");
            exact += 1;
        } else {
            assert_eq!(frozen, count(&row[4]), "{row:?}");
            equal += 1;
        }
    }
    assert!(equal > 250 && exact > 10, "{equal} equal, {exact} exact");
}

#[test]
fn the_last_blocks_always_train() {
    for (keep, blocks, round, expected) in [
        (1, 2, 0, vec![]),
        (1, 2, 1, vec!["embed"]),
        (1, 2, 2, vec!["embed", "body.0.a", "body.0.b"]),
        (1, 2, 9, vec!["embed", "body.0.a", "body.0.b", "body.1.a", "body.1.b"]),
        (2, 2, 9, vec!["embed", "body.0.a", "body.0.b"]),
        (9, 2, 9, vec![]),
        (1, 0, 9, vec!["embed"]),
    ] {
        let settings = GeometricSettings { keep, ..Default::default() };
        let decision = decided(settings, Elapsed::new(round, 9), &net(blocks)).expect("a decision");
        assert_eq!(frozen(&decision.plan), expected, "{keep} of {blocks}, round {round}");
    }
    for n in [0, 1] {
        let all = GeometricSettings { alpha: 1.0, ..Default::default() };
        let plan = decided(all, Elapsed::new(1, 1), &leaves(n)).expect("a decision").plan;
        assert_eq!(plan.frozen_leaves(), 0, "{n} leaves");
    }
}

#[test]
fn refines_what_was_set_by_hand_and_leaves_alone_what_is_always() {
    let settings = GeometricSettings { alpha: 0.5, by: By::Leaf, ..Default::default() };
    let mut base = leaves(5);
    base.set(3, LeafState::Frozen).and_then(|p| p.train("4", 0.5)).expect("a plan");
    let decision = decided(settings.clone(), Elapsed::new(1, 4), &base).expect("a decision");
    let mut expected = base.clone();
    expected.freeze("[01]").expect("a plan");
    assert_eq!(decision.plan, expected);
    assert_eq!(
        decision.why[0].to_string(),
        "`0` froze: 1 of 4 epochs are over, 2 of 4 blocks are due"
    );
    assert_eq!(decision.metrics["geometric/blocks_frozen"], 2.0);
    let plan = decided(settings, Elapsed::new(4, 4), &always()).expect("a decision").plan;
    assert_eq!(frozen(&plan), ["second"]);
}

#[test]
fn rounds_are_epochs_or_steps() {
    let by_steps = GeometricSettings {
        alpha: 0.5,
        acts: Acts::every(10).expect("steps"),
        ..Default::default()
    };
    let mut policy = by_steps.policy().expect("a policy");
    for (at, expected) in [(0, 0), (9, 0), (10, 2), (19, 2), (20, 3), (30, 4), (40, 4)] {
        let plan = policy.decide(step(at, 40), &leaves(5)).expect("a decision").plan;
        assert_eq!(plan.frozen_leaves(), expected, "after {at} steps");
        assert_eq!(policy.is_due(step(at, 40), Moment::Step), at > 0 && at % 10 == 0);
    }
    for (at, what) in [
        (
            Elapsed::new(1, 2),
            "`steps` is 0, expected the steps of the whole run: `Elapsed::at_step(step, steps)`",
        ),
        (step(0, 9), "`acts.steps` is 10, expected at most the optimizer steps of the run"),
        (step(11, 10), "`step` is 11, expected at most the total of the run"),
    ] {
        assert_eq!(refused(policy.decide(at, &leaves(2))), what);
    }
    assert!(policy.is_due(step(0, 9), Moment::Start) && !policy.is_due(step(0, 10), Moment::Start));
}

#[test]
fn refuses_settings_that_make_no_sense() {
    for (settings, what) in [
        (
            GeometricSettings { alpha: 1.5, ..Default::default() },
            "`alpha` is 1.5, expected a number from 0 to 1",
        ),
        (
            GeometricSettings { alpha: f64::NAN, ..Default::default() },
            "`alpha` is NaN, expected a number from 0 to 1",
        ),
        (GeometricSettings { keep: 0, ..Default::default() }, "`keep` is 0, expected at least 1"),
        (
            GeometricSettings { acts: Acts { epochs: true, steps: 5 }, ..Default::default() },
            "`acts.steps` is 5, expected 0 where `epochs` is true: a round is an epoch or a number of steps",
        ),
        (
            GeometricSettings { acts: Acts { epochs: false, steps: 0 }, ..Default::default() },
            "`steps` is 0, expected at least 1 where `epochs` is false",
        ),
    ] {
        assert_eq!(refused(settings.policy()), what);
    }
}

proptest! {
    #[test]
    fn never_more_than_all_and_never_less_than_before(
        alpha in 0.0..=1.0_f64,
        blocks in 0_usize..1000,
        round in 0_usize..100_000,
    ) {
        let policy = policy(alpha);
        let (now, next) = (policy.frozen(round, blocks), policy.frozen(round + 1, blocks));
        prop_assert!(now <= next && next <= blocks);
        prop_assert_eq!(policy.frozen(0, blocks), 0);
    }

    /// Where the count is whole, rounding decides nothing.
    #[test]
    fn whole_counts_are_exact(
        den in 2_usize..12,
        num in 1_usize..12,
        times in 1_usize..20,
        round in 1_u32..5,
    ) {
        prop_assume!(num < den);
        let frozen = policy(num as f64 / den as f64).frozen(round as usize, times * den.pow(round));
        prop_assert_eq!(frozen, times * (den.pow(round) - (den - num).pow(round)));
    }

    #[test]
    fn a_round_freezes_at_most_its_share_of_what_is_left(
        den in 2_usize..50,
        num in 1_usize..50,
        blocks in 1_usize..200,
        round in 0_usize..40,
    ) {
        prop_assume!(num < den);
        let policy = policy(num as f64 / den as f64);
        let left = blocks - policy.frozen(round, blocks);
        let froze = policy.frozen(round + 1, blocks) - policy.frozen(round, blocks);
        prop_assert!(froze * den <= left * num + den, "{froze} of {left}");
    }
}
