//! Who takes turns: blocks, what is frozen by hand, what always trains, models of any size.

use freeze_core::policy::{
    BAdamSettings, By, HiFtSettings, LisaSettings, Settings, WeightedSettings,
};
use freeze_core::{Decision, FreezePlan, LeafState, Policy};

use super::rig::*;

/// The leaves that train in each turn of one step.
fn turns(policy: &mut impl Policy, base: &FreezePlan, steps: usize) -> Vec<String> {
    let decide = |step| policy.decide(at(step, steps), base).expect("a decision");
    (0..steps).map(decide).map(|decision| trained(&decision.plan).join(" ")).collect()
}

fn badam(by: By) -> BAdamSettings {
    BAdamSettings { switch_every: 1, by, ..Default::default() }
}

#[test]
fn blocks_are_parts_leaves_or_patterns() {
    let base = plan(&["embed", "body.0.a", "body.0.b", "body.1", "norm.0", "head"]);
    let patterns = |patterns: &[&str]| By::Patterns(patterns.iter().map(|p| (*p).into()).collect());
    let rows: [(BAdamSettings, &[&str]); 7] = [
        (badam(By::Block), &["norm.0", "body.1", "body.0.a body.0.b"]),
        (badam(By::Leaf), &["head", "norm.0", "body.1", "body.0.b", "body.0.a", "embed"]),
        (badam(patterns(&["body.**"])), &["body.0.a body.0.b body.1"]),
        // A leaf belongs to the first pattern.
        (badam(patterns(&["*.1", "**.a", "body.**"])), &["body.1", "body.0.b", "body.0.a"]),
        (
            BAdamSettings { also_trains: vec!["head".into()], ..badam(By::Block) },
            &["norm.0 head", "body.1 head", "body.0.a body.0.b head"],
        ),
        (
            BAdamSettings { include_rest: true, ..badam(By::Block) },
            &["head", "norm.0", "body.1", "body.0.a body.0.b", "embed"],
        ),
        // What always trains has no turn of its own.
        (
            BAdamSettings {
                include_rest: true,
                also_trains: vec!["head".into(), "**.a".into()],
                ..badam(By::Block)
            },
            &[
                "body.0.a norm.0 head",
                "body.0.a body.1 head",
                "body.0.a body.0.b head",
                "embed body.0.a head",
            ],
        ),
    ];
    for (settings, expected) in rows {
        let context = format!("{settings:?}");
        let mut policy = settings.policy().expect("a policy");
        assert_eq!(turns(&mut policy, &base, expected.len()), expected, "{context}");
    }
}

#[test]
fn what_is_frozen_by_hand_has_no_turn_and_rates_stay() {
    let mut base = body(3);
    base.freeze("body.1.**").and_then(|plan| plan.freeze("body.2.a")).expect("leaves");
    base.train("body.0.b", 0.25).and_then(|plan| plan.train("head", 0.5)).expect("leaves");
    let mut badam = badam(By::Block).policy().expect("a policy");
    assert_eq!(turns(&mut badam, &base, 3), ["body.2.b", "body.0.a body.0.b", "body.2.b"]);
    let mut hift = HiFtSettings::default().policy().expect("a policy");
    let expected = ["embed", "body.0.a body.0.b", "body.2.b", "head", "embed"];
    assert_eq!(turns(&mut hift, &base, 5), expected);
    for settings in ALL {
        let mut policy = policy(settings);
        for step in 0..30 {
            let plan = policy.decide(at(step, 30), &base).expect("a decision").plan;
            for (state, by_hand) in plan.states().iter().zip(base.states()) {
                assert!(*state == LeafState::Frozen || state == by_hand, "{settings} {step}");
            }
        }
    }
}

#[test]
fn declared_always_is_in_every_turn_and_in_none_of_its_own() {
    let leaves = ["a.0", "a.1", "a.2"].map(|path| (path, LeafState::TRAINED));
    let base = serde_json::json!({ "leaves": leaves, "always": ["a.1"] });
    let base: FreezePlan = serde_json::from_value(base).expect("a plan");
    let mut badam = badam(By::Block).policy().expect("a policy");
    assert_eq!(turns(&mut badam, &base, 3), ["a.1 a.2", "a.0 a.1", "a.1 a.2"]);
    let lisa = LisaSettings { every: 1, blocks: 1, ..Default::default() };
    let mut lisa = lisa.policy().expect("a policy");
    assert!(turns(&mut lisa, &base, 9).iter().all(|turn| turn.contains("a.1") && turn != "a.1"));
}

#[test]
fn models_of_any_size() {
    for settings in ALL {
        for leaves in [0, 1, 2, 800] {
            let paths: Vec<String> = (0..leaves).map(|leaf| format!("layers.{leaf}")).collect();
            let base = plan(&paths);
            let mut policy = policy(settings);
            for step in [0, 1, 2, 19] {
                let decision = policy.decide(at(step, 20), &base).expect("a decision");
                let trained = trained(&decision.plan).len();
                assert!(trained > 0 || leaves == 0, "{settings}: {leaves} leaves, step {step}");
                assert!(trained <= 2, "{settings}: {trained} of {leaves}");
                assert_eq!(decision.plan.len(), leaves);
                assert!(decision.metrics.values().all(|metric| metric.is_finite()));
            }
        }
    }
}

/// With nothing to rotate, a policy leaves it to the rule above policies that something trains.
#[test]
fn everything_frozen_by_hand() {
    for settings in ALL {
        let mut base = body(2);
        base.freeze("**").expect("leaves");
        let decision = policy(settings).decide(at(0, 9), &base).expect("a decision");
        assert_eq!(decision.plan, base, "{settings}");
    }
}

#[test]
fn a_run_of_one_step_and_turns_longer_than_the_run_are_said() {
    // The metric that says how many turns, rounds or cycles begin in a run of so many steps.
    let rows = [
        (r#"{"policy": "lisa", "every": 20}"#, "lisa/turns", [1.0, 1.0, 3.0]),
        (r#"{"policy": "badam", "switch-every": 10}"#, "badam/rounds", [0.25, 0.5, 1.5]),
        (r#"{"policy": "hift"}"#, "hift/cycles", [1.0 / 6.0, 20.0 / 6.0, 10.0]),
        (r#"{"policy": "weighted", "every": 20}"#, "weighted/turns", [1.0, 1.0, 3.0]),
    ];
    for (settings, metric, expected) in rows {
        for (steps, expected) in [1, 20, 60].into_iter().zip(expected) {
            let decision = policy(settings).decide(at(0, steps), &body(4)).expect("a decision");
            assert_eq!(decision.metrics[metric], expected, "{settings}: {steps}");
        }
    }
    let forever = format!(r#"{{"policy": "badam", "switch-every": {}}}"#, usize::MAX);
    let decision = policy(&forever).decide(at(9, 10), &body(4)).expect("a decision");
    assert_eq!(decision.metrics["badam/rounds"], 0.25);
}

#[test]
fn reasons_say_whose_turn_it_is() {
    let base = body(3);
    let why = |decision: &Decision, leaf: &str| {
        let why = decision.why.iter().find(|why| why.leaf == leaf);
        why.map(|why| why.text.clone())
    };
    let settings = BAdamSettings {
        switch_every: 5,
        also_trains: vec!["head".into()],
        ..BAdamSettings::default()
    };
    let decision = settings.policy().and_then(|mut policy| policy.decide(at(7, 30), &base));
    let decision = decision.expect("a decision");
    let turn = "the turn is that of `body.1`, 1 of 3 blocks, in steps 6 to 10";
    assert_eq!(why(&decision, "body.1.a"), Some(format!("thawed: {turn}")));
    assert_eq!(why(&decision, "body.2.b"), Some(format!("froze: {turn}")));
    let none = "froze: it is in none of the 3 blocks with turns";
    assert_eq!(why(&decision, "embed").as_deref(), Some(none));
    assert_eq!(why(&decision, "head"), None);
    let none = LisaSettings { blocks: 0, ..Default::default() }.policy();
    let decision = none.and_then(|mut policy| policy.decide(at(0, 30), &base));
    let text = "froze: no block of 3 trains in steps 1 to 20";
    assert_eq!(why(&decision.expect("a decision"), "body.0.a").as_deref(), Some(text));
    let weighted = WeightedSettings { blocks: 1, ..Default::default() }.policy();
    let mut weighted = weighted.expect("a policy");
    for leaf in [1, 3] {
        let mut plan = base.clone();
        plan.freeze("**").and_then(|plan| plan.set(leaf, LeafState::TRAINED)).expect("a leaf");
        weighted.observe(&seen(&plan, at(1, 40))).expect("numbers");
    }
    let decision = weighted.decide(at(20, 40), &base).expect("a decision");
    let first = why(&decision, "body.0.a").expect("a reason");
    assert!(first.contains("; drawn with the score ") && first.contains("the mean is "), "{first}");
}
