//! `Weighted`: scores from what is seen, and draws from scores.

use freeze_core::policy::{Boxed, Needs, Observation, Seen};
use freeze_core::{Elapsed, FreezePlan, Norms, Policy};

use super::rig::*;

fn gradients(at: Elapsed, sizes: &[(usize, f64)]) -> Observation {
    sizes.iter().fold(Observation::after_step(at, 1.0), |seen, &(leaf, l2)| {
        seen.tensor(Seen::new(leaf, format!("{leaf}.weight"), 4).gradient(Norms { l1: l2, l2 }))
    })
}

/// The blocks of `body` that train.
fn blocks(plan: &FreezePlan) -> Vec<usize> {
    let leaves = trained(plan).into_iter().filter_map(|path| path.strip_prefix("body."));
    leaves.filter_map(|path| path.strip_suffix(".a")?.parse().ok()).collect()
}

fn decide(policy: &mut Boxed, at: Elapsed, count: usize) -> (Vec<usize>, f64) {
    let decision = policy.decide(at, &body(count)).expect("a decision");
    (blocks(&decision.plan), decision.metrics["weighted/mean_score"])
}

/// The mean of all scores is told, so scores can be read off it.
#[test]
fn the_score_is_the_norm_of_the_smoothed_norms_of_the_leaves() {
    let mut policy = policy(r#"{"policy": "weighted", "every": 2, "smoothing": 0.75}"#);
    assert_eq!(decide(&mut policy, at(0, 9), 1), (vec![0], 0.0));
    // Leaf 1 has two variables: 3 and 4 are 5 together. Leaf 2 has one; leaf 3 is the head.
    policy
        .observe(&gradients(at(1, 9), &[(1, 3.0), (1, 4.0), (2, 12.0), (3, 99.0)]))
        .expect("numbers");
    assert_eq!(decide(&mut policy, at(1, 9), 1).1, 0.0, "the draw is that of before");
    assert_eq!(decide(&mut policy, at(2, 9), 1).1, 13.0);
    policy.observe(&gradients(at(3, 9), &[(1, 9.0)])).expect("numbers");
    let score = f64::hypot(0.75 * 5.0 + 0.25 * 9.0, 12.0);
    let (_, found) = decide(&mut policy, at(4, 9), 1);
    assert!((found - score).abs() < 1e-12, "{found} {score}");
}

/// The norm of two leaves may be infinite where theirs are not.
#[test]
fn the_largest_norms_are_scores_too() {
    let mut policy = policy(r#"{"policy": "weighted", "every": 1, "blocks": 1, "floor": 0}"#);
    decide(&mut policy, at(0, 9), 2);
    let sizes = [(1, f64::MAX), (2, f64::MAX), (3, 1.0), (4, 1.0)];
    policy.observe(&gradients(at(1, 9), &sizes)).expect("numbers");
    let (drawn, mean) = decide(&mut policy, at(1, 9), 2);
    assert!(drawn == [0] && mean.is_finite(), "{drawn:?} {mean}");
}

#[test]
fn it_needs_what_its_score_goes_by() {
    let both = Needs::TENSORS | Needs::WEIGHT;
    let given = r#"{"policy": "weighted", "every": 3, "score": {"given": {"body.0": 1}}}"#;
    let rows = [
        (r#"{"policy": "weighted", "every": 3}"#, [Needs::GRADIENT; 4]),
        (
            r#"{"policy": "weighted", "every": 3, "score": "weight"}"#,
            [both, Needs::NONE, Needs::WEIGHT, Needs::NONE],
        ),
        (given, [Needs::NONE; 4]),
    ];
    for (settings, expected) in rows {
        for (step, expected) in expected.into_iter().enumerate() {
            assert_eq!(policy(settings).needs(at(step, 9)), expected, "{settings} {step}");
        }
    }
    // What was not needed changes nothing.
    let mut policy = policy(given);
    let state = policy.state();
    policy.observe(&gradients(at(1, 9), &[(1, 3.0)])).expect("numbers");
    assert_eq!(policy.state(), state);
}

#[test]
fn weights_count_from_the_start_and_are_not_smoothed() {
    use candle_core::{Device, Var};
    let settings = r#"{"policy": "weighted", "every": 1, "blocks": 1, "score": "weight",
        "sampling": "epsilon-greedy", "epsilon": 0.0}"#;
    let mut policy = policy(settings);
    let start = [3.0f32, 1.0, 2.0].into_iter().enumerate();
    let seen = start.fold(Observation::at_start(at(0, 9)), |seen, (block, size)| {
        let var = Var::new(&[size, 0.0], &Device::Cpu).expect("a variable");
        let leaf = 1 + 2 * block;
        seen.tensor(Seen::new(leaf, format!("{leaf}.weight"), 2).var(var))
    });
    policy.observe(&seen).expect("numbers");
    assert_eq!(decide(&mut policy, at(0, 9), 3), (vec![0], 2.0));
    let weight = Seen::new(1, "1.weight", 2).weight(Norms { l1: 9.0, l2: 1.5 });
    policy.observe(&Observation::after_step(at(1, 9), 1.0).tensor(weight)).expect("numbers");
    assert_eq!(decide(&mut policy, at(1, 9), 3), (vec![2], 1.5));
}

#[test]
fn greedy_sees_every_block_once_and_then_takes_the_largest() {
    let settings = r#"{"policy": "weighted", "every": 1, "blocks": 2, "smoothing": 0,
        "sampling": "epsilon-greedy", "epsilon": 0}"#;
    let mut policy = policy(settings);
    let sizes = [1.0, 5.0, 2.0, 9.0, 3.0];
    let mut turns = Vec::new();
    for step in 0..6 {
        let (drawn, _) = decide(&mut policy, at(step, 9), 5);
        let sizes: Vec<(usize, f64)> =
            drawn.iter().map(|&block| (1 + 2 * block, sizes[block])).collect();
        policy.observe(&gradients(at(step + 1, 9), &sizes)).expect("numbers");
        turns.push(drawn);
    }
    // The third turn has one without a score, and the largest.
    assert_eq!(turns, [[0, 1], [2, 3], [3, 4], [1, 3], [1, 3], [1, 3]]);
}

#[test]
fn epsilon_is_the_chance_of_any_blocks() {
    for epsilon in [0.0, 0.3, 1.0] {
        let settings = format!(
            r#"{{"policy": "weighted", "every": 1, "blocks": 1, "sampling": "epsilon-greedy",
            "epsilon": {epsilon}, "score": {{"given": {{"body.0": 1, "body.1": 9, "body.2": 1}}}}}}"#
        );
        let mut policy = policy(&settings);
        const TURNS: usize = 2000;
        let mut drawn = |step| decide(&mut policy, at(step, TURNS), 3).0 == [1];
        let hits = (0..TURNS).filter(|&step| drawn(step)).count() as f64 / TURNS as f64;
        let p: f64 = 1.0 - epsilon * 2.0 / 3.0;
        let five = 5.0 * (p * (1.0 - p) / TURNS as f64).sqrt();
        assert!((hits - p).abs() <= five, "{epsilon}: {hits} {p}");
    }
}

#[test]
fn proportional_draws_go_by_given_scores_temperature_and_floor() {
    // Temperature, floor, and the chance of the block with a score of 3 beside one of 1.
    let rows = [(1.0, 0.0, 0.75), (0.5, 0.0, 0.9), (1.0, 1.0, 0.5), (1.0, 0.2, 0.7)];
    for (temperature, floor, p) in rows {
        let settings = format!(
            r#"{{"policy": "weighted", "every": 1, "blocks": 1, "temperature": {temperature},
            "floor": {floor}, "score": {{"given": {{"body.0": 3, "body.1": 1}}}}}}"#
        );
        let mut policy = policy(&settings);
        const TURNS: usize = 3000;
        let mut drawn = |step| decide(&mut policy, at(step, TURNS), 2).0 == [0];
        let hits = (0..TURNS).filter(|&step| drawn(step)).count() as f64 / TURNS as f64;
        let five = 5.0 * f64::sqrt(p * (1.0 - p) / TURNS as f64);
        assert!((hits - p).abs() <= five, "{temperature} {floor}: {hits} {p}");
    }
}

/// In the first epoch the largest scores; then blocks by how often they were drawn, whatever the scores.
#[test]
fn dirichlet_is_greedy_for_an_epoch_and_then_goes_by_counts() {
    let settings = r#"{"policy": "weighted", "every": 1, "blocks": 1, "sampling": "dirichlet",
        "epsilon": 0, "score": {"given": {"body.0": 1, "body.1": 2, "body.2": 1, "body.3": 1}}}"#;
    let mut policy = policy(settings);
    let mut hits = [0.0; 4];
    for step in 0..200 {
        let now = Elapsed::new(usize::from(step >= 10), 20).at_step(step, 200);
        let (drawn, _) = decide(&mut policy, now, 4);
        assert!(step >= 10 || drawn == [1], "{step}");
        drawn.into_iter().filter(|_| step >= 10).for_each(|block| hits[block] += 1.0 / 190.0);
    }
    // It is an urn of 11 and 1, 1, 1: the share of block 1 has a mean of 0.79 and a deviation of 0.11.
    assert!((hits[1] - 0.79f64).abs() < 4.0 * 0.11 && hits[1] < 1.0, "{hits:?}");
}
