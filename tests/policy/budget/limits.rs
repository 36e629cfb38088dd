//! Laws: never over the limits, and the best of all sets where they can be counted.

use freeze_core::forecast::Calibration;
use freeze_core::policy::{BudgetSettings, select_within};
use freeze_core::{FreezePlan, LeafState};
use proptest::collection::vec;
use proptest::prelude::*;

use super::rig::{Cost, Script, budget, bytes, costs, plan, settings, trained};

fn cost() -> impl Strategy<Value = Cost> {
    let times = (0u64..30, 0u64..30, 0u64..30);
    (times, 0usize..200, 1usize..200).prop_map(|((forward, input, weight), output, bytes)| Cost {
        forward,
        input,
        weight,
        output,
        bytes,
    })
}

/// The plan that trains the leaves in the bits of `set`.
fn of_bits(leaves: usize, set: u32) -> FreezePlan {
    let mut plan = plan(leaves);
    for leaf in (0..leaves).filter(|leaf| set & (1 << leaf) == 0) {
        plan.set(leaf, LeafState::Frozen).expect("a leaf");
    }
    plan
}

fn is_within(costs: &Calibration, plan: &FreezePlan, settings: &BudgetSettings) -> bool {
    let forecast = costs.forecast(plan).expect("a forecast");
    let share = forecast.step_ratio.unwrap_or(0.0);
    settings.time.is_none_or(|time| share <= time + 1e-12)
        && settings.bytes.is_none_or(|most| bytes(&forecast) <= most)
}

proptest! {
    #[test]
    fn the_best_plan_within_the_limits_is_found(
        leaves in vec((cost(), -3i32..10), 1..8),
        time in prop::option::of(0.2f64..=1.0),
        most in prop::option::of(100usize..2000),
        prefix: bool,
    ) {
        prop_assume!(time.is_some() || most.is_some());
        let (of, drops): (Vec<Cost>, Vec<i32>) = leaves.into_iter().unzip();
        let costs = costs(&of, &[]);
        prop_assume!(costs.forecast(&plan(of.len())).is_ok_and(|full| full.step_ratio.is_some()));
        let settings =
            BudgetSettings { time, bytes: most, every: 1.0, prefix, ..settings() };
        let base = plan(of.len());
        let script = Script { base: &base, steps: 60, drop: &|_, leaf| f64::from(drops[leaf]) };
        let mut policy = budget(settings.clone(), &costs);
        let full = (1u32 << of.len()) - 1;
        // The frozen ones are the lowest bits.
        let is_allowed = |set: &u32| !prefix || ((full ^ set) + 1).is_power_of_two();
        let fitting: Vec<u32> = (1..=full)
            .filter(is_allowed)
            .filter(|&set| is_within(&costs, &of_bits(of.len(), set), &settings))
            .collect();
        if fitting.is_empty() {
            prop_assert!(script.begin(&mut policy).is_err());
            return Ok(());
        }
        let decided = script.run(&mut policy, |_, _| {});
        let chosen = &decided.last().expect("a choice").1.plan;
        prop_assert!(is_within(&costs, chosen, &settings), "{:?}", trained(chosen));
        // Where no leaf lowers the loss, or all are 0, other rules hold: see `chosen`.
        let unit = drops.iter().all(|&drop| drop == 0);
        // What cannot be looked at within the bytes counts nothing, and is in no set that fits.
        let value = |leaf: usize| if unit { 1.0 } else { f64::from(drops[leaf]) };
        let sum = |leaves: &[usize]| leaves.iter().map(|&leaf| value(leaf)).sum::<f64>();
        let bits = |set: u32| (0..of.len()).filter(|leaf| set & (1 << leaf) != 0).collect::<Vec<_>>();
        let best = fitting.iter().map(|&set| sum(&bits(set))).fold(f64::NEG_INFINITY, f64::max);
        prop_assert!((sum(&trained(chosen)) - best).abs() < 1e-9, "{:?} {best}", trained(chosen));
    }

    /// As the recorded cases: an exact program over whole units tells the optimum.
    #[test]
    fn forty_tensors_are_chosen_as_well_as_can_be(
        tensors in vec((-20i32..100, 0usize..30, 0usize..30), 20..40),
        share in 0.05f64..1.0,
    ) {
        let all: usize = tensors.iter().map(|(_, dw, dy)| dw + dy).sum();
        let limit = (share * all as f64) as usize;
        let list = |of: fn(&(i32, usize, usize)) -> f64| tensors.iter().map(of).collect::<Vec<_>>();
        let importance = list(|(importance, _, _)| f64::from(*importance));
        let (dw, dy) = (list(|(_, dw, _)| *dw as f64), list(|(_, _, dy)| *dy as f64));
        let chosen = select_within(&importance, &dw, &dy, limit as f64).expect("a choice");
        let passed: f64 = chosen.first().map_or(0.0, |&deepest| dy[deepest..].iter().sum());
        let time = passed + chosen.iter().map(|&k| dw[k]).sum::<f64>();
        prop_assert!(time <= limit as f64);
        let found = chosen.iter().map(|&k| importance[k]).sum::<f64>();
        prop_assert!((found - optimum(&tensors, limit)).abs() < 1e-9, "{found}");
    }
}

/// The greatest importance within the limit, by the best of each time for each deepest tensor.
fn optimum(tensors: &[(i32, usize, usize)], limit: usize) -> f64 {
    let mut best_of = vec![0i64; limit + 1];
    let (mut best, mut passed) = (0, 0);
    for &(importance, dw, dy) in tensors.iter().rev() {
        passed += dy;
        if passed + dw <= limit {
            best = best.max(i64::from(importance) + best_of[limit - passed - dw]);
        }
        for time in (dw..=limit).rev() {
            best_of[time] = best_of[time].max(best_of[time - dw] + i64::from(importance));
        }
    }
    best as f64
}
