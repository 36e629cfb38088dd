//! Gradual unfreezing against what was recorded of the codes of it, and by hand.

use freeze_core::policy::{
    Acts, By, GradualUnfreezing, GradualUnfreezingSettings, Moment, Settings, Triangle,
    slanted_triangle,
};
use freeze_core::{Elapsed, LeafState, Policy};
use serde_json::Value;

use super::rig::{
    always, count, decided, frozen, leaves, net, number, points, rates, recorded, refused, rows,
    step,
};

fn golden() -> Value {
    recorded(include_str!("../../data/policies/ulmfit_stlr.json"))
}

fn plain() -> GradualUnfreezingSettings {
    GradualUnfreezingSettings { triangle: None, ..Default::default() }
}

fn policy(settings: GradualUnfreezingSettings) -> GradualUnfreezing {
    settings.policy().expect("a policy")
}

#[test]
fn equals_every_recorded_rate() {
    let golden = golden();
    let mut compared = 0;
    for row in rows(&golden["discriminative"]["rows"]) {
        let (n, top) = (count(&row[0]), number(&row[1]));
        let policy = policy(GradualUnfreezingSettings { factor: number(&row[2]), ..plain() });
        let expected = row[3].as_array().expect("rates");
        assert_eq!(expected.len(), n);
        for (block, expected) in expected.iter().enumerate() {
            let error = (policy.rate(block, n) * top - number(expected)).abs();
            assert!(error <= 1e-14 * top, "block {block} of {row:?}");
            compared += 1;
        }
    }
    assert!(compared >= 31, "{compared}");
}

/// AllenNLP begins a new triangle in each epoch that thaws, so only what trains is compared.
#[test]
fn trains_what_is_recorded() {
    for case in golden()["gradual_allennlp"].as_array().expect("cases") {
        let (n, epochs) = (count(&case["n_groups"]), count(&case["epochs"]));
        let mut policy = policy(plain());
        for row in rows(&case["rows"]) {
            let at = Elapsed::new(count(&row[0]), epochs);
            let plan = policy.decide(at, &leaves(n)).expect("a decision").plan;
            let trains = plan.states().iter().map(|state| Value::Bool(!state.is_frozen()));
            assert_eq!(Value::Array(trains.collect()), row[1], "{at:?}");
        }
    }
}

#[test]
fn thaws_from_the_top() {
    let (lower, low) = (Some(1.0 / (2.6 * 2.6)), Some(1.0 / 2.6));
    for (groups, round, expected) in [
        (1, 0, vec![None, None, None, None, None, Some(1.0)]),
        (1, 1, vec![None, None, None, low, low, Some(1.0)]),
        (1, 2, vec![None, lower, lower, low, low, Some(1.0)]),
        (2, 0, vec![None, None, None, low, low, Some(1.0)]),
        (3, 0, vec![None, lower, lower, low, low, Some(1.0)]),
    ] {
        let settings = GradualUnfreezingSettings { groups, ..plain() };
        let plan = decided(settings, Elapsed::new(round, 9), &net(2)).expect("a decision").plan;
        assert_eq!(rates(&plan), expected, "{groups} each, round {round}");
    }
    for (groups, round) in [(1, 3), (1, 9), (usize::MAX, 0), (2, 1)] {
        let settings = GradualUnfreezingSettings { groups, factor: 1.0, ..plain() };
        let plan = decided(settings, Elapsed::new(round, 9), &net(2)).expect("a decision").plan;
        assert_eq!(plan, net(2), "all of them after {round} rounds of {groups}");
    }
    for n in [0, 1] {
        let plan = decided(plain(), Elapsed::new(0, 1), &leaves(n)).expect("a decision").plan;
        assert_eq!(plan, leaves(n), "{n} leaves");
    }
}

#[test]
fn the_triangle_moves_every_rate_at_every_step() {
    let triangle = Triangle { cut_frac: 0.25, ratio: 10.0 };
    let mut policy =
        policy(GradualUnfreezingSettings { triangle: Some(triangle), ..Default::default() });
    for (at, moment) in points(2, 4) {
        assert!(policy.is_due(at, moment), "{at:?}");
        let share = slanted_triangle(triangle, at.step, 8).expect("a share");
        let decision = policy.decide(at, &leaves(2)).expect("a decision");
        let below = (at.epoch > 0).then_some(share / 2.6);
        for (rate, expected) in rates(&decision.plan).into_iter().zip([below, Some(share)]) {
            let close = |(a, b): (f64, f64)| (a - b).abs() < 1e-15;
            assert!(rate.is_some() == expected.is_some() && rate.zip(expected).is_none_or(close));
        }
        assert_eq!(decision.metrics["gradual_unfreezing/triangle"], share);
    }
    for (at, what) in [
        (
            Elapsed::new(1, 2),
            "`steps` is 0, expected the steps of the whole run: `Elapsed::at_step(step, steps)`",
        ),
        (
            step(0, 3),
            "`steps` is 3, expected at least 1 / `cut_frac`, so that the rate rises for a step",
        ),
        (step(5, 4), "`step` is 5, expected at most the total of the run"),
    ] {
        assert_eq!(refused(policy.decide(at, &leaves(2))), what);
    }
}

#[test]
fn reasons_are_given_once_for_each_block_that_thaws() {
    let rounds = [Acts::AT_EPOCHS, Acts::every(10).expect("steps")];
    let triangles = [None, Some(Triangle::default())];
    for (acts, triangle) in rounds.into_iter().flat_map(|acts| triangles.map(|t| (acts, t))) {
        let settings = GradualUnfreezingSettings { acts, triangle, ..Default::default() };
        let mut policy = policy(settings);
        let mut thawed = Vec::new();
        for (at, moment) in points(4, 10) {
            if !policy.is_due(at, moment) {
                continue;
            }
            let why = policy.decide(at, &net(2)).expect("a decision").why;
            thawed.extend(why.into_iter().filter(|why| why.text.starts_with("thawed")));
        }
        let thawed: Vec<String> = thawed.iter().map(ToString::to_string).collect();
        let round = |leaf: &str, step: usize, trained: usize| {
            let due = format!("{step} of 40 steps are over, the last {trained} of 4 blocks train");
            format!("`{leaf}` thawed: {due}")
        };
        let once = [
            round("body.1.a", 10, 2),
            round("body.1.b", 10, 2),
            round("body.0.a", 20, 3),
            round("body.0.b", 20, 3),
            round("embed", 30, 4),
        ];
        assert_eq!(thawed, once, "{acts:?}, {triangle:?}");
    }
}

#[test]
fn refines_what_was_set_by_hand_and_leaves_alone_what_is_always() {
    let mut base = leaves(4);
    base.set(2, LeafState::Frozen).and_then(|p| p.train("3", 0.5)).expect("a plan");
    let settings = GradualUnfreezingSettings { factor: 2.0, ..plain() };
    let plan = decided(settings.clone(), Elapsed::new(2, 4), &base).expect("a decision").plan;
    assert_eq!(rates(&plan), [None, Some(0.25), None, Some(0.5)]);
    let plan = decided(settings.clone(), Elapsed::new(0, 4), &always()).expect("a decision").plan;
    assert_eq!(rates(&plan), [Some(1.0), None, Some(1.0)]);
    let by = By::Patterns(vec!["body.0.**".into(), "head".into()]);
    let plan = decided(GradualUnfreezingSettings { by, ..settings }, Elapsed::new(0, 4), &net(2));
    let expected = ["body.0.a", "body.0.b"];
    assert_eq!(frozen(&plan.expect("a decision").plan), expected, "what is in no block trains");
}

#[test]
fn rounds_are_epochs_or_steps() {
    let acts = Acts::every(5).expect("steps");
    let mut policy = policy(GradualUnfreezingSettings { acts, ..plain() });
    for (at, trained) in [(0, 1), (4, 1), (5, 2), (10, 3), (20, 3)] {
        let decision = policy.decide(step(at, 20), &leaves(3)).expect("a decision");
        assert_eq!(decision.metrics["gradual_unfreezing/blocks_trained"], trained as f64);
        assert_eq!(decision.plan.frozen_leaves(), 3 - trained);
        assert_eq!(policy.is_due(step(at, 20), Moment::Step), at > 0 && at % 5 == 0);
    }
    assert!(policy.is_due(step(0, 20), Moment::Start));
    let too_long = refused(policy.decide(step(0, 4), &leaves(3)));
    assert_eq!(too_long, "`acts.steps` is 5, expected at most the optimizer steps of the run");
}

#[test]
fn refuses_settings_that_make_no_sense() {
    let triangle = |cut_frac, ratio| Some(Triangle { cut_frac, ratio });
    for (settings, what) in [
        (GradualUnfreezingSettings { groups: 0, ..plain() }, "`groups` is 0, expected at least 1"),
        (
            GradualUnfreezingSettings { factor: 0.0, ..plain() },
            "`factor` is 0, expected a finite number above 0",
        ),
        (
            GradualUnfreezingSettings { factor: f64::NAN, ..plain() },
            "`factor` is NaN, expected a finite number above 0",
        ),
        (
            GradualUnfreezingSettings { triangle: triangle(0.0, 2.0), ..plain() },
            "`cut_frac` is 0, expected a number above 0 and up to 1",
        ),
        (
            GradualUnfreezingSettings { acts: Acts { epochs: true, steps: 1 }, ..plain() },
            "`acts.steps` is 1, expected 0 where `epochs` is true: a round is an epoch or a number of steps",
        ),
    ] {
        assert_eq!(refused(settings.policy()), what);
    }
}
