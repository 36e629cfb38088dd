//! What holds for any settings of the policies that go by time.

use freeze_core::policy::{
    Acts, By, FreezeAtSettings, FreezeOutSettings, Front, GeometricSettings,
    GradualUnfreezingSettings, Milestone, Settings, Spacing, Triangle, When,
};
use freeze_core::{FreezePlan, LeafState};
use proptest::prelude::*;

use super::rig::{net, plans, rates};

const LENGTH: (usize, usize) = (4, 25);

/// A plan by hand: each leaf frozen or trained at some rate.
fn by_hand(blocks: usize) -> impl Strategy<Value = FreezePlan> {
    let states = prop::collection::vec(prop::option::weighted(0.8, 0.0..2.0_f64), 2 * blocks + 2);
    states.prop_map(move |states| {
        let mut plan = net(blocks);
        for (leaf, rate) in states.into_iter().enumerate() {
            let state = rate.map_or(LeafState::Frozen, |lr_scale| LeafState::Trained { lr_scale });
            plan.set(leaf, state).expect("a leaf");
        }
        plan
    })
}

fn acts() -> impl Strategy<Value = Acts> {
    let every = |steps| Acts::every(steps).expect("steps");
    prop_oneof![Just(Acts::AT_EPOCHS), (1_usize..20).prop_map(every)]
}

fn by() -> impl Strategy<Value = By> {
    let patterns = vec!["body.0.**".to_string(), "**".into()];
    prop_oneof![Just(By::Leaf), Just(By::Block), Just(By::Patterns(patterns))]
}

/// Whether the first block holds the head: that of the pattern `**`, since it holds the embedding.
fn holds_all(by: &By) -> bool {
    matches!(by, By::Patterns(_))
}

/// The plans of a run; leaves that are frozen by hand stay so, and what trains has a rate of its base
/// times one in the range of the policy.
fn run<S: Settings>(settings: S, base: &FreezePlan, highest: f64) -> Vec<FreezePlan> {
    let plans = plans(&mut settings.policy().expect("a policy"), base, LENGTH).expect("plans");
    for plan in &plans {
        for (rate, by_hand) in rates(plan).into_iter().zip(rates(base)) {
            let Some(rate) = rate else { continue };
            let by_hand = by_hand.expect("what is frozen by hand stays frozen");
            assert!(
                (0.0..=by_hand * highest * (1.0 + 1e-12)).contains(&rate),
                "{rate} of {by_hand}"
            );
        }
    }
    plans
}

/// Whether each plan freezes all that the one before it does.
fn never_thaws(plans: &[FreezePlan]) -> bool {
    let freezes = |plan: &FreezePlan| plan.states().iter().map(|state| state.is_frozen()).collect();
    let frozen: Vec<Vec<bool>> = plans.iter().map(freezes).collect();
    frozen
        .windows(2)
        .all(|pair| pair[0].iter().zip(&pair[1]).all(|(before, after)| before <= after))
}

fn trains_last(plan: &FreezePlan, base: &FreezePlan) -> bool {
    plan.states().last().map(|state| state.is_frozen())
        == base.states().last().map(|state| state.is_frozen())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn freeze_out_never_thaws_and_trains_to_the_end(
        base in by_hand(3),
        t0 in 0.1..=1.0_f64,
        how in prop_oneof![Just(Spacing::Linear), Just(Spacing::Squared), Just(Spacing::Cubic)],
        scaled in any::<bool>(),
        acts in acts(),
        by in by(),
    ) {
        let whole = holds_all(&by);
        let settings = FreezeOutSettings { t0, how, scaled, acts, by };
        let plans = run(settings, &base, 1.0 / (t0 * t0 * t0));
        prop_assert!(never_thaws(&plans));
        prop_assert!(whole || plans.iter().all(|plan| trains_last(plan, &base)));
    }

    /// Scaled, a leaf's rates over its time add up to what an unscaled cosine over the run adds up to.
    #[test]
    fn scaled_leaves_travel_as_far(t0 in 0.3..=1.0_f64, n in 1_usize..9) {
        let policy = FreezeOutSettings { t0, ..Default::default() }.policy().expect("a policy");
        for end in policy.ends(n) {
            let far: f64 = (0..10_000).filter_map(|step| policy.rate(end, step, 10_000)).sum();
            prop_assert!((far / 10_000.0 - 0.5).abs() < 0.01, "{far} until {end}");
        }
    }

    #[test]
    fn geometric_never_thaws_and_keeps_the_last_blocks(
        base in by_hand(3),
        alpha in 0.0..=1.0_f64,
        keep in 1_usize..4,
        acts in acts(),
        by in by(),
    ) {
        let whole = holds_all(&by);
        let plans = run(GeometricSettings { alpha, keep, acts, by }, &base, 1.0);
        prop_assert!(never_thaws(&plans));
        prop_assert!(whole || plans.iter().all(|plan| trains_last(plan, &base)));
    }

    #[test]
    fn gradual_unfreezing_never_freezes_again(
        base in by_hand(3),
        groups in 1_usize..4,
        factor in 1.0..10.0_f64,
        ratio in prop::option::of(1.0..50.0_f64),
        acts in acts(),
        by in by(),
    ) {
        let triangle = ratio.map(|ratio| Triangle { ratio, ..Default::default() });
        let settings = GradualUnfreezingSettings { groups, factor, triangle, acts, by };
        let mut plans = run(settings, &base, 1.0);
        // The first point is before the policy acts.
        prop_assert!(!plans.is_empty());
        plans.reverse();
        prop_assert!(never_thaws(&plans));
    }

    #[test]
    fn freeze_at_never_thaws(
        base in by_hand(3),
        mut starts in prop::collection::vec(0.0..1.0_f64, 1..5),
        mut depths in prop::collection::vec(0_usize..=8, 5),
    ) {
        starts.sort_by(f64::total_cmp);
        depths.sort_unstable();
        let milestone = |(at, depth): (&f64, &usize)| Milestone {
            at: When::Share(*at),
            freeze: Front::Leaves(*depth),
        };
        let milestones = starts.iter().zip(&depths).map(milestone).collect();
        let plans = run(FreezeAtSettings { milestones }, &base, 1.0);
        prop_assert!(never_thaws(&plans));
        // What is frozen after a step is what its milestones say.
        for (step, plan) in plans.iter().enumerate() {
            let share = step as f64 / (LENGTH.0 * LENGTH.1) as f64;
            let due = starts.iter().filter(|start| **start <= share).count();
            let mut expected = base.clone();
            expected.freeze_front(due.checked_sub(1).map_or(0, |last| depths[last])).expect("a depth");
            prop_assert_eq!(plan, &expected, "step {}", step);
        }
    }
}
