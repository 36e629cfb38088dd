//! Laws over any sequence of decisions.

use std::collections::BTreeSet;

use freeze_core::policy::{Policy, PolicyExt};
use proptest::prelude::*;

use super::fake::*;

const LEAVES: usize = 9;

fn lists() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(0..LEAVES, 0..LEAVES), 11)
}

fn fake(lists: &[Vec<usize>]) -> Fake {
    Fake::new(&lists.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The frozen leaves after each step.
fn played(mut policy: impl Policy) -> Vec<BTreeSet<usize>> {
    let decide = |step| policy.decide(at(step), &plan(LEAVES)).expect("decided");
    (1..=10).map(decide).map(|decision| frozen(&decision).into_iter().collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bounds_hold(lists in lists(), share in 0.0..=1.0f64) {
        let plain = played(fake(&lists));
        for (own, policy) in played(fake(&lists).with_ceiling(share).expect("a share")).iter().zip(&plain) {
            prop_assert!(own.len() as f64 <= share * LEAVES as f64 + 1e-9);
            prop_assert!(own.is_subset(policy));
        }
        for (own, policy) in played(fake(&lists).with_floor(share).expect("a share")).iter().zip(&plain) {
            let enough = own.len() as f64 >= share * LEAVES as f64 - 1e-9;
            prop_assert!(enough || own.len() + 1 == LEAVES);
            prop_assert!(own.is_superset(policy));
        }
    }

    #[test]
    fn what_is_monotone_never_thaws(lists in lists()) {
        let mut before = BTreeSet::new();
        for (now, policy) in played(fake(&lists).monotone()).iter().zip(played(fake(&lists))) {
            prop_assert!(now.is_superset(&before) && now.is_superset(&policy));
            prop_assert_eq!(now, &before.union(&policy).copied().collect::<BTreeSet<_>>());
            before.clone_from(now);
        }
    }

    #[test]
    fn a_cap_is_kept_and_nothing_else_is_changed(lists in lists(), share in 0.01..=1.0f64) {
        let capped = played(fake(&lists).at_most_per_round(share).expect("a share"));
        let mut before = BTreeSet::new();
        for (now, policy) in capped.iter().zip(played(fake(&lists))) {
            prop_assert!(now.is_subset(&policy));
            let stayed: BTreeSet<usize> = before.intersection(&policy).copied().collect();
            prop_assert!(now.is_superset(&stayed), "it thaws only what the policy thaws");
            let new = now.difference(&before).count();
            prop_assert!(new as f64 <= (share * (LEAVES - stayed.len()) as f64).ceil() + 1e-9);
            prop_assert!(new > 0 || policy.is_subset(&stayed), "each round gets on");
            before.clone_from(now);
        }
    }

    #[test]
    fn a_pair_is_what_both_freeze_or_either(one in lists(), other in lists()) {
        let (a, b) = (played(fake(&one)), played(fake(&other)));
        let least = played(fake(&one).min(fake(&other)));
        let most = played(fake(&one).max(fake(&other)));
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            prop_assert_eq!(&least[at], &a.intersection(b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(&most[at], &a.union(b).copied().collect::<BTreeSet<_>>());
        }
    }
}
