//! What remembers: a cap on each round, what froze stays, a slower rhythm.

use freeze_core::policy::{Linear, Moment, Observation, Policy, PolicyExt};
use freeze_core::{Decision, Elapsed, LeafState};

use super::fake::*;

/// The decisions after each of the steps 1 to 10.
fn played(policy: &mut impl Policy, leaves: usize) -> Vec<Decision> {
    (1..=10).map(|step| policy.decide(at(step), &plan(leaves)).expect("decided")).collect()
}

fn counts(decisions: &[Decision]) -> Vec<usize> {
    decisions.iter().map(|decision| decision.plan.frozen_leaves()).collect()
}

#[test]
fn a_cap_lets_a_share_of_the_rest_freeze_in_each_round() {
    let all: Vec<usize> = (0..12).collect();
    // ceil(share * rest) more in each round; PipeTransformer's 0, 4, 7, 9, ... for a third of 12.
    for (share, expected) in [
        (1.0 / 3.0, [4, 7, 9, 10, 11, 12, 12, 12, 12, 12]),
        (0.5, [6, 9, 11, 12, 12, 12, 12, 12, 12, 12]),
        (1.0, [12; 10]),
        (1e-9, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ] {
        let mut policy = Fake::new(&[&all]).at_most_per_round(share).expect("a share");
        let decisions = played(&mut policy, 12);
        assert_eq!(counts(&decisions), expected, "{share}");
        for decision in decisions {
            let front: Vec<usize> = (0..decision.plan.frozen_leaves()).collect();
            assert_eq!(frozen(&decision), front, "{share}: from the front");
        }
    }
    let mut policy = Fake::new(&[&all]).at_most_per_round(1.0 / 3.0).expect("a share");
    let first = policy.decide(at(1), &plan(12)).expect("decided");
    assert_eq!(why(&first, 4), ["trains: 4 of 12 leaves may freeze in one round"]);
    assert_eq!(why(&first, 3), ["froze: the list of 1"]);
}

#[test]
fn a_cap_counts_rounds_and_not_questions() {
    let all: Vec<usize> = (0..12).collect();
    let mut policy = Fake::new(&[&all]).at_most_per_round(0.5).expect("a share");
    for (step, expected) in [(1, 6), (1, 6), (2, 9), (2, 9), (2, 9), (3, 11)] {
        let decision = policy.decide(at(step), &plan(12)).expect("decided");
        assert_eq!(decision.plan.frozen_leaves(), expected, "{step}");
    }
    // The linear schedule acts at the ends of epochs: what is asked between them is no round.
    let linear = Linear::new(0.0, 1.0).expect("a schedule").at_most_per_round(0.25);
    let mut linear = linear.expect("a share");
    let run = |epoch, step| Elapsed::new(epoch, 4).at_step(step, 40);
    for (at, expected) in [
        (run(0, 9), 0),
        (run(1, 10), 2),
        (run(1, 11), 2),
        (run(1, 19), 2),
        (run(2, 20), 4),
        (run(2, 20), 4),
        (run(3, 30), 6),
        (run(4, 40), 7),
    ] {
        let decision = linear.decide(at, &plan(9)).expect("decided");
        assert_eq!(decision.plan.frozen_leaves(), expected, "{at:?}");
    }
}

/// A policy that is due when there is something new has nothing new once it has decided.
#[test]
fn a_cap_counts_the_rounds_of_a_policy_that_is_due_on_news() {
    let mut policy = OnNews::default().at_most_per_round(0.5).expect("a share");
    for (step, is_new, expected) in [(1, true, 6), (2, false, 6), (3, true, 9), (3, false, 9)] {
        if is_new {
            policy.observe(&Observation::after_step(at(step), 1.0)).expect("observed");
        }
        let decision = policy.decide(at(step), &plan(12)).expect("decided");
        assert_eq!(decision.plan.frozen_leaves(), expected, "{step}");
    }
}

#[test]
fn what_thaws_under_a_cap_starts_again() {
    let mut policy = Fake::new(&[&[], &[0, 1, 2, 3], &[], &[0, 1, 2, 3]]).at_most_per_round(0.5);
    let policy = policy.as_mut().expect("a share");
    assert_eq!(counts(&played(policy, 4)[..4]), [2, 0, 2, 3]);
}

#[test]
fn what_froze_stays_frozen() {
    let lists: [&[usize]; 5] = [&[], &[0, 5], &[1], &[], &[0, 3]];
    let mut policy = Fake::new(&lists).monotone();
    let decisions = played(&mut policy, 8);
    let frozen: Vec<Vec<usize>> = decisions.iter().map(frozen).collect();
    assert_eq!(frozen[..4], [vec![0, 5], vec![0, 1, 5], vec![0, 1, 5], vec![0, 1, 3, 5]]);
    assert_eq!(why(&decisions[1], 1), ["froze: the list of 2"]);
    // What the user froze by hand is the user's to thaw.
    let mut base = plan(3);
    base.freeze("2").expect("a plan");
    let mut policy = Fake::new(&[&[], &[0, 2], &[]]).monotone();
    assert_eq!(super::fake::frozen(&policy.decide(at(1), &base).expect("decided")), [0, 2]);
    assert_eq!(super::fake::frozen(&policy.decide(at(2), &plan(3)).expect("decided")), [0]);
}

#[test]
fn a_slower_rhythm_holds_the_last_decision() {
    let lists: [&[usize]; 7] = [&[], &[0], &[1], &[2], &[3], &[4], &[5]];
    let mut policy = Fake::new(&lists).at_rate(0.5).every(3).expect("steps");
    let due: Vec<usize> = (1..=10).filter(|step| policy.is_due(at(*step), Moment::Step)).collect();
    assert_eq!(due, [3, 6, 9]);
    assert!(policy.is_due(at(9), Moment::Epoch) && !policy.is_due(at(10), Moment::Epoch));
    let decisions = played(&mut policy, 8);
    let frozen: Vec<Vec<usize>> = decisions.iter().map(frozen).collect();
    assert_eq!(frozen[..7], [vec![], vec![], vec![2], vec![2], vec![2], vec![5], vec![5]]);
    // Before its first round it has decided nothing.
    assert_eq!(decisions[1].plan.state(7), Some(LeafState::TRAINED));
    assert_eq!(decisions[3].plan.state(7), Some(LeafState::Trained { lr_scale: 0.5 }));
    let error = policy.decide(Elapsed::new(1, 2), &plan(8)).expect_err("no steps").to_string();
    assert!(error.contains("`steps` is 0, expected the steps of the whole run"), "{error}");
    assert!(policy.is_due(Elapsed::new(1, 2), Moment::Epoch), "so that it is said");
}

#[test]
fn an_interval_longer_than_the_run_is_said_at_the_start() {
    for (steps, fits) in [(10, true), (11, false)] {
        let mut policy = Fake::new(&[&[], &[0]]).every(steps).expect("steps");
        assert_eq!(policy.is_due(at(0), Moment::Start), !fits, "{steps}");
        match policy.decide(at(0), &plan(3)) {
            Ok(_) => assert!(fits, "{steps}"),
            Err(error) => {
                let expected = "the policy `every`: it acts every 11 steps, and there are 10";
                assert!(!fits && error.to_string() == expected, "{error}");
            }
        }
    }
}
