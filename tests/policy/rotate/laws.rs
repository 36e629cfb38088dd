//! Laws over random models and settings.

use freeze_core::policy::{
    BAdamOrder, BAdamSettings, HiFtOrder, HiFtSettings, Settings, draw_chances,
};
use proptest::prelude::*;

use super::rig::*;

fn badam_order() -> impl Strategy<Value = BAdamOrder> {
    use BAdamOrder::{Ascending, Descending, Random};
    prop_oneof![Just(Random), Just(Ascending), Just(Descending)]
}

fn hift_order() -> impl Strategy<Value = HiFtOrder> {
    prop_oneof![Just(HiFtOrder::Down2Up), Just(HiFtOrder::Up2Down), Just(HiFtOrder::Random)]
}

/// Visits differ by one turn at most, wherever the run ends.
fn even(visits: &[usize], turn: usize) -> bool {
    let (least, most) = (visits.iter().min(), visits.iter().max());
    most.zip(least).is_none_or(|(most, least)| most - least <= turn)
}

proptest! {
    #[test]
    fn badam_visits_every_block_equally_often(
        blocks in 1..9usize, switch_every in 1..6usize, order in badam_order(), seed: u64, rounds in 1..5usize,
    ) {
        let policy = BAdamSettings { switch_every, order, seed, ..Default::default() }.policy()?;
        let mut visits = vec![0; blocks];
        for step in 0..rounds * blocks * switch_every {
            visits[policy.block(step, blocks)?.expect("a block")] += 1;
            prop_assert!(even(&visits, switch_every), "{visits:?}");
        }
        prop_assert!(visits.iter().all(|&visits| visits == rounds * switch_every));
    }

    #[test]
    fn hift_visits_every_block_once_a_cycle(
        n in 1..12usize, blocks in 1..14usize, every in 1..4usize, order in hift_order(), seed: u64,
    ) {
        let settings = HiFtSettings { blocks, every, order, seed, ..Default::default() };
        let policy = settings.policy()?;
        let mut visits = vec![0; n];
        for step in 0..3 * every * n.div_ceil(blocks) {
            let group = policy.group(step, n);
            prop_assert!((1..=blocks).contains(&group.len()));
            group.into_iter().for_each(|block| visits[block] += 1);
            prop_assert!(even(&visits, every), "{visits:?}");
            let cycle = policy.cycle(step + 1, n);
            prop_assert!(visits.iter().all(|&visits| visits >= cycle * every));
        }
        prop_assert!(visits.iter().all(|&visits| visits == 3 * every), "{visits:?}");
    }

    #[test]
    fn chances_add_up_and_keep_to_their_floor_and_their_order(
        scores in prop::collection::vec(prop::option::of(0.0..1e300f64), 1..20),
        temperature in 0.05..20.0f64, floor in 0.0..=1.0f64,
    ) {
        let chances = draw_chances(&scores, temperature, floor);
        prop_assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let least = floor / scores.len() as f64;
        prop_assert!(chances.iter().all(|&chance| chance >= least && chance <= 1.0));
        let largest = scores.iter().flatten().copied().fold(0.0, f64::max);
        let scores: Vec<f64> = scores.iter().map(|score| score.unwrap_or(largest)).collect();
        for (a, b) in scores.iter().zip(&chances) {
            for (c, d) in scores.iter().zip(&chances) {
                prop_assert!(a < c && b <= d || a >= c && b >= d);
            }
        }
    }

    #[test]
    fn something_trains_within_the_cap_and_at_its_own_rate(
        which in 0..ALL.len(), blocks in 1..8usize, rates in prop::collection::vec(0.0..2.0f64, 18),
        frozen in prop::collection::vec(any::<bool>(), 18), steps in 1..60usize,
    ) {
        let mut base = body(blocks);
        for leaf in 1..base.len() - 1 {
            let (rate, frozen) = (rates[leaf], frozen[leaf] && leaf > 2);
            let lr_scale = rate;
            let state = match frozen {
                true => freeze_core::LeafState::Frozen,
                false => freeze_core::LeafState::Trained { lr_scale },
            };
            base.set(leaf, state)?;
        }
        let mut policy = policy(ALL[which]);
        let run = drive(&mut policy, &base, (0, steps), base.clone(), |_, decision, _| {
            let Some(decision) = decision else { return };
            let trained = trained(&decision.plan);
            assert!(!trained.is_empty(), "{}", ALL[which]);
            // Two blocks of two leaves, and both ends.
            assert!(trained.len() <= 6, "{}: {trained:?}", ALL[which]);
            for (state, by_hand) in decision.plan.states().iter().zip(base.states()) {
                assert!(state.is_frozen() || state == by_hand);
            }
        });
        run?;
    }
}
