//! The linear schedule's rhythm.

use freeze_core::policy::{Acts, LinearSettings, Moment, Settings};
use freeze_core::{Elapsed, Policy};
use proptest::prelude::*;

use super::rig::{leaves, plans, points, refused, step};

fn acting(acts: Acts) -> LinearSettings {
    LinearSettings { start: 0.0, acts, ..Default::default() }
}

#[test]
fn says_that_it_would_never_act() {
    let policy = acting(Acts::every(5).expect("steps")).policy().expect("a policy");
    for (at, moment, what) in [
        (
            step(0, 4),
            Moment::Start,
            "`acts.steps` is 5, expected at most the optimizer steps of the run",
        ),
        (
            Elapsed::new(1, 2),
            Moment::Epoch,
            "`steps` is 0, expected the steps of the whole run: `Elapsed::at_step(step, steps)`",
        ),
    ] {
        assert!(policy.is_due(at, moment), "{at:?}");
        assert_eq!(refused(policy.clone().decide(at, &leaves(3))), what);
    }
    assert!(!policy.is_due(step(0, 5), Moment::Start));
    let both = acting(Acts::every(5).expect("steps").and_at_epochs()).policy().expect("a policy");
    assert!(!both.is_due(step(0, 4), Moment::Start), "it acts at the ends of epochs");
    let never = acting(Acts { epochs: false, steps: 0 }).policy();
    assert_eq!(refused(never), "`steps` is 0, expected at least 1 where `epochs` is false");
}

proptest! {
    /// Whatever the rhythm, the plan in force is that of the last point at which it acted.
    #[test]
    fn acts_when_its_setting_says(
        every in 0_usize..8,
        epochs in any::<bool>(),
        length in (1_usize..4, 2_usize..7),
        n in 0_usize..9,
    ) {
        let acts = Acts { epochs, steps: every };
        prop_assume!(epochs || (1..=length.0 * length.1).contains(&every));
        let mut policy = acting(acts).policy().expect("a policy");
        let plans = plans(&mut policy, &leaves(n), length).expect("plans");
        let total = length.0 * length.1;
        for ((at, _), plan) in points(length.0, length.1).zip(plans) {
            let by_steps = at.step.checked_div(every).unwrap_or(0) * every;
            let by_epochs = if epochs { at.epoch * length.1 } else { 0 };
            let acted = by_steps.max(by_epochs);
            let depth = (acted as f64 / total as f64 * n.saturating_sub(1) as f64).trunc() as usize;
            prop_assert_eq!(plan.frozen_leaves(), depth, "{:?}", at);
        }
    }

    /// Acting more often freezes as much or more at each point, and never later.
    #[test]
    fn acting_at_more_points_never_freezes_less(every in 1_usize..8, n in 0_usize..30) {
        let plans = |acts| plans(&mut acting(acts).policy().expect("a policy"), &leaves(n), (3, 8));
        let few = plans(Acts::every(2 * every).expect("steps")).expect("plans");
        let more = plans(Acts::every(every).expect("steps")).expect("plans");
        for (few, more) in few.iter().zip(&more) {
            prop_assert!(few.frozen_leaves() <= more.frozen_leaves());
        }
        prop_assert!(more.is_sorted_by_key(freeze_core::FreezePlan::frozen_leaves));
    }
}
