//! What is chosen, when, and why.

use freeze_core::policy::{Budget, BudgetSettings, By, Moment, Needs, Observation, Settings};
use freeze_core::{Decision, Elapsed, LeafState, Policy};

use super::rig::{Cost, EVEN, Script, budget, costs, declared, plan, settings, trained};

/// Thirty steps: cycles of ten, of which four look.
fn decisions(policy: &mut Budget, leaves: usize, drops: &[f64]) -> Vec<(usize, Vec<usize>)> {
    let base = plan(leaves);
    let script = Script { base: &base, steps: 30, drop: &|_, leaf| drops[leaf] };
    let decided = script.run(policy, |_, _| {});
    decided.into_iter().map(|(step, decision)| (step, trained(&decision.plan))).collect()
}

/// The last decision of the first cycle.
fn choice(policy: &mut Budget, leaves: usize, drops: &[f64]) -> Vec<usize> {
    let decided = decisions(policy, leaves, drops);
    decided.into_iter().find(|(step, _)| *step == 4).expect("a choice").1
}

#[test]
fn it_looks_at_everything_and_then_trains_what_it_chose() {
    let costs = costs(&[EVEN; 4], &[]);
    let all = vec![0, 1, 2, 3];
    // A full step takes 4 x 10 forward, 30 input, 40 weights and 4: 114. Half is 57, and the last two
    // leaves take 40 + 10 + 20 + 2, more than that, so only one of them trains.
    let found = decisions(&mut budget(settings(), &costs), 4, &[1.0, 0.5, 0.3, 0.2]);
    let chosen = vec![3];
    let cycle = |start| [(start, all.clone()), (start + 4, chosen.clone())];
    let end = [(30, chosen.clone())];
    let expected: Vec<_> = [0, 10, 20].into_iter().flat_map(cycle).chain(end).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_deepest_leaf_can_be_chosen_and_a_full_budget_takes_all_that_is_worth_it() {
    let costs = costs(&[EVEN; 4], &[]);
    let time = |time| BudgetSettings { time: Some(time), ..settings() };
    // Only the first: 40 + 30 + 10 + 1 of 114.
    let rows = [
        (0.72, [1.0, 0.1, 0.1, 0.1], vec![0]),
        (0.81, [1.0, 0.1, 0.2, 0.1], vec![0, 2]),
        (0.71, [1.0, 0.4, 0.4, 0.4], vec![2, 3]),
        (1.00, [1.0, 0.1, 0.1, 0.1], vec![0, 1, 2, 3]),
        (1.00, [1.0, -0.1, 0.0, 0.1], vec![0, 3]),
        (1.00, [-1.0, -0.1, -0.2, -0.3], vec![1]),
        // Nothing moved: as many as fit.
        (0.71, [0.0; 4], vec![2, 3]),
    ];
    for (share, drops, expected) in rows {
        let found = choice(&mut budget(time(share), &costs), 4, &drops);
        assert_eq!(found, expected, "{share} {drops:?}");
    }
}

#[test]
fn a_limit_of_bytes_counts_gradients_state_and_activations() {
    // Gradients and state are three times the variable; activations from the first trained one on.
    let leaf = |bytes, output| Cost { bytes, output, ..EVEN };
    let costs = costs(&[leaf(10, 1), leaf(20, 2), leaf(40, 4)], &[]);
    let rows = [
        (37, vec![0]),
        (66, vec![1]),
        (97, vec![0, 1]),
        (124, vec![2]),
        (157, vec![0, 2]),
        (217, vec![0, 1, 2]),
    ];
    for (bytes, expected) in rows {
        let settings = BudgetSettings { time: None, bytes: Some(bytes), every: 1.0, ..settings() };
        let base = plan(3);
        let drops = [1.0, 1.5, 3.0];
        let script = Script { base: &base, steps: 30, drop: &|_, leaf| drops[leaf] };
        let decided = script.run(&mut budget(settings, &costs), |_, _| {});
        let (_, last) = decided.last().expect("a choice");
        assert_eq!(trained(&last.plan), expected, "{bytes}");
        // Looking keeps to it, too.
        for (step, decision) in &decided {
            assert!(decision.metrics["budget/bytes"] <= bytes as f64, "{bytes}: step {step}");
        }
    }
}

#[test]
fn within_bytes_leaves_are_looked_at_in_turns() {
    let costs = costs(&[EVEN; 4], &[]);
    // One leaf takes 150 bytes, and 100 for each output behind.
    let settings = BudgetSettings { time: None, bytes: Some(600), every: 1.0, ..settings() };
    let found = decisions(&mut budget(settings, &costs), 4, &[0.1, 0.2, 1.0, 0.2]);
    let expected =
        [(0, vec![2, 3]), (4, vec![1, 2, 3]), (8, vec![0])].map(|(step, leaves)| (step, leaves));
    assert_eq!(found[0], expected[0]);
    let rounds: Vec<usize> = found.iter().map(|(step, _)| *step).collect();
    assert_eq!(rounds, [0, 4, 8, 12, 30]);
    let mut looked: Vec<usize> = found[..3].iter().flat_map(|(_, leaves)| leaves.clone()).collect();
    looked.sort_unstable();
    assert_eq!(looked, [0, 1, 2, 3], "each once");
}

#[test]
fn only_a_front_is_frozen_if_so_set() {
    let costs = costs(&[EVEN; 4], &[]);
    let prefix = |time| BudgetSettings { time: Some(time), prefix: true, ..settings() };
    let rows = [
        (0.5, [1.0, 1.0, 1.0, 1.0], vec![3]),
        (0.64, [9.0, 9.0, 0.1, 0.1], vec![2, 3]),
        (0.9, [9.0, -0.1, 0.1, 0.1], vec![2, 3]),
        (1.0, [9.0, -0.1, 0.1, 0.1], vec![0, 1, 2, 3]),
        (1.0, [0.0, -0.1, 0.1, -0.1], vec![2, 3]),
    ];
    for (time, drops, expected) in rows {
        let found = choice(&mut budget(prefix(time), &costs), 4, &drops);
        assert_eq!(found, expected, "{time} {drops:?}");
    }
}

#[test]
fn a_cached_front_leaves_more_for_the_rest() {
    let costs = costs(&[EVEN; 4], &[]);
    let of = |cached| BudgetSettings { cached, ..settings() };
    let drops = [0.1, 1.0, 0.2, 0.3];
    // The last two take 72 of 114, 52 without the forward of the first two.
    assert_eq!(choice(&mut budget(of(false), &costs), 4, &drops), [3]);
    assert_eq!(choice(&mut budget(of(true), &costs), 4, &drops), [2, 3]);
}

#[test]
fn what_is_frozen_scaled_or_declared_always_stays_so() {
    let costs = costs(&[EVEN; 4], &[]);
    let mut base = declared(4, &[2]);
    base.set(3, LeafState::Frozen).expect("a leaf");
    base.set(1, LeafState::Trained { lr_scale: 0.1 }).expect("a leaf");
    let script = Script { base: &base, steps: 30, drop: &|_, leaf| leaf as f64 + 1.0 };
    let time = |time| BudgetSettings { time: Some(time), ..settings() };
    for (share, expected) in [(0.6, vec![2]), (0.8, vec![1, 2]), (1.0, vec![0, 1, 2])] {
        let decided = script.run(&mut budget(time(share), &costs), |_, _| {});
        assert_eq!(trained(&decided[0].1.plan), [0, 1, 2], "looking");
        let chosen = &decided[1].1.plan;
        assert_eq!(trained(chosen), expected, "{share}");
        for leaf in expected {
            assert_eq!(chosen.state(leaf), base.state(leaf));
        }
    }
}

#[test]
fn leaves_whose_operations_are_not_recorded_train_behind_one_whose_are() {
    let costs = costs(&[EVEN; 4], &[0, 3]);
    let time = |time| BudgetSettings { time: Some(time), ..settings() };
    let drops = [9.0, 0.1, 0.2, 5.0];
    for (share, expected) in [(1.0, vec![1, 2, 3]), (0.75, vec![2, 3])] {
        assert_eq!(choice(&mut budget(time(share), &costs), 4, &drops), expected, "{share}");
    }
}

#[test]
fn blocks_train_together() {
    let costs = costs(&[EVEN; 4], &[]);
    let by = By::Patterns(vec!["[01]".into(), "2".into()]);
    let time = |time| BudgetSettings { time: Some(time), by: by.clone(), ..settings() };
    // Leaf 3 is in no block and trains always.
    for (share, expected) in [(0.5, vec![3]), (0.7, vec![2, 3]), (0.95, vec![0, 1, 3])] {
        let found = choice(&mut budget(time(share), &costs), 4, &[1.0, 1.0, 1.5, 0.0]);
        assert_eq!(found, expected, "{share}");
    }
}

#[test]
fn a_decision_says_why_and_in_numbers() {
    let costs = costs(&[EVEN; 4], &[]);
    let base = plan(4);
    let script = Script { base: &base, steps: 30, drop: &|_, leaf| [1.0, 0.5, 0.3, 0.2][leaf] };
    let decided = script.run(&mut budget(settings(), &costs), |_, _| {});
    let why = |decision: &Decision| -> Vec<String> {
        decision.why.iter().map(ToString::to_string).collect()
    };
    let chosen = &decided[1].1;
    let cost =
        "a step takes the share 0.4474 and 250 bytes of the share 0.5000 of a full step's time";
    assert!(why(chosen).contains(&format!(
        "`0` froze: it lowers the loss by 1.000 of what the best does, {cost}"
    )));
    assert!(why(chosen).contains(&format!(
        "`3` thawed: it lowers the loss by 0.200 of what the best does, {cost}"
    )));
    assert!((chosen.metrics["budget/step_ratio"] - 51.0 / 114.0).abs() < 1e-12);
    assert_eq!(chosen.metrics["budget/bytes"], 250.0);
    assert!((chosen.metrics["budget/importance"] - 0.2 / 2.0).abs() < 1e-12);
    assert_eq!(chosen.metrics["budget/gap"], 0.0);
    let looking = why(&decided[0].1);
    assert!(
        looking.iter().all(|why| why.contains("thawed: what it does for the loss is looked at"))
    );
}

#[test]
fn only_steps_that_look_are_asked_for_and_count() {
    let costs = costs(&[EVEN; 4], &[]);
    let base = plan(4);
    let mut policy = budget(BudgetSettings { time: Some(0.72), ..settings() }, &costs);
    // The first step of a round compares with a step long ago, and the steps that hold with none.
    let drop = |step: usize, leaf: usize| match step % 10 {
        1..4 => [1.0, 0.1, 0.1, 0.1][leaf],
        _ => [-1e9, 1e9, 1e9, 1e9][leaf],
    };
    let script = Script { base: &base, steps: 30, drop: &drop };
    let mut asked = Vec::new();
    let decided = script.run(&mut policy, |step, policy| {
        if policy.needs(script.at(step)).contains(Needs::LOSS_DROP) {
            asked.push(step);
        }
        policy.observe(&script.shown(step, &base)).expect("numbers");
    });
    assert_eq!(asked, [1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]);
    for (step, decision) in decided {
        let expected = if step % 10 == 0 && step < 30 { vec![0, 1, 2, 3] } else { vec![0] };
        assert_eq!(trained(&decision.plan), expected, "{step}");
    }
}

#[test]
fn what_an_earlier_cycle_showed_no_longer_counts() {
    let costs = costs(&[EVEN; 4], &[]);
    let base = plan(4);
    let drop = |step: usize, leaf: usize| match step < 10 {
        true => [10.0, 0.1, 0.1, 0.1][leaf],
        false => [0.1, 0.05, 1.0, 0.1][leaf],
    };
    let script = Script { base: &base, steps: 30, drop: &drop };
    let settings = BudgetSettings { time: Some(0.72), ..settings() };
    let decided = script.run(&mut budget(settings, &costs), |_, _| {});
    let chosen = decided.iter().filter(|(step, _)| step % 10 == 4);
    let chosen: Vec<Vec<usize>> = chosen.map(|(_, decision)| trained(&decision.plan)).collect();
    assert_eq!(chosen, [vec![0], vec![2, 3], vec![2, 3]]);
}

#[test]
fn costs_are_taken_from_what_the_start_shows() {
    let whole = BudgetSettings { time: Some(1.0), ..settings() };
    let mut policy = whole.policy().expect("a policy");
    let at = Elapsed::new(0, 1).at_step(0, 30);
    assert!(policy.needs(at).contains(Needs::COSTS));
    let start = Observation::at_start(at).costs(costs(&[EVEN; 2], &[]).into());
    policy.observe(&start).expect("costs");
    assert!(!policy.needs(at).contains(Needs::COSTS));
    assert!(policy.is_due(at, Moment::Start));
    assert_eq!(trained(&policy.decide(at, &plan(2)).expect("a plan").plan), [0, 1]);
    assert!(!policy.is_due(at.at_step(1, 30), Moment::Step));
    assert!(policy.is_due(at.at_step(30, 30), Moment::Epoch));
}
