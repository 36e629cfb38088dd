//! Rules: floor, ceiling, one pattern, two policies, all frozen.

use freeze_core::policy::{Boxed, Policy, PolicyExt, all_trained};
use freeze_core::{Decision, FreezePlan, LeafState, Result};

use super::fake::*;

#[test]
fn a_floor_freezes_more_from_the_front() {
    for (share, listed, expected) in [
        (0.0, &[][..], &[][..]),
        (0.25, &[], &[0, 1]),
        (0.5, &[0, 1], &[0, 1, 2, 3]),
        (0.5, &[6, 7], &[0, 1, 6, 7]),
        (0.3, &[], &[0, 1, 2]),
        (0.25, &[4, 5, 6], &[4, 5, 6]),
        // The last leaf that trains is never frozen for a floor.
        (1.0, &[], &[0, 1, 2, 3, 4, 5, 6]),
        (1.0, &[7], &[0, 1, 2, 3, 4, 5, 7]),
    ] {
        let mut policy = Fake::new(&[listed]).with_floor(share).expect("a share");
        let decision = policy.decide(at(1), &plan(8)).expect("decided");
        assert_eq!(frozen(&decision), expected, "{share} {listed:?}");
        for leaf in expected.iter().filter(|leaf| !listed.contains(leaf)) {
            let text = why(&decision, *leaf);
            assert!(text[0].contains("of 8 leaves are frozen at least"), "{text:?}");
        }
        // The policy's own count holds as long as its plan does.
        assert_eq!(decision.depth() == 77, listed == expected, "{share} {listed:?}");
    }
}

#[test]
fn a_ceiling_thaws_from_the_back_what_the_user_did_not_freeze() {
    let mut base = plan(8);
    base.freeze("6").and_then(|plan| plan.train("3", 0.5)).expect("a plan");
    for (share, listed, expected) in [
        (1.0, &[0, 1, 2, 3, 4, 5, 7][..], &[0, 1, 2, 3, 4, 5, 6, 7][..]),
        (0.5, &[0, 1, 2, 3, 4], &[0, 1, 2, 6]),
        (0.375, &[0, 1], &[0, 1, 6]),
        (0.3, &[0, 1], &[0, 6]),
        (0.0, &[0, 1], &[6]),
    ] {
        let mut policy = Fake::new(&[listed]).with_ceiling(share).expect("a share");
        let decision = policy.decide(at(1), &base).expect("decided");
        assert_eq!(frozen(&decision), expected, "{share} {listed:?}");
        if share == 0.5 {
            assert_eq!(decision.plan.state(3), Some(LeafState::Trained { lr_scale: 0.5 }));
            assert_eq!(why(&decision, 3), ["trains: 4 of 8 leaves are frozen at most"]);
            assert_eq!(why(&decision, 0), ["froze: the list of 1"]);
        }
    }
}

#[test]
fn only_what_a_pattern_matches_follows() {
    let mut base = plan(4);
    base.train("2", 0.5).expect("a plan");
    for (pattern, expected, rates) in [
        ("**", &[0, 1, 3][..], [0.0, 0.0, 0.05, 0.0]),
        ("[01]", &[0, 1], [0.0, 0.0, 0.5, 1.0]),
        ("2", &[], [1.0, 1.0, 0.05, 1.0]),
    ] {
        let policy = Fake::new(&[&[0, 1, 3]]).at_rate(0.1);
        let mut policy = policy.only(pattern).expect("a pattern");
        let decision = policy.decide(at(1), &base).expect("decided");
        assert_eq!(frozen(&decision), expected, "{pattern}");
        let rate = |state: &LeafState| match state {
            LeafState::Frozen => 0.0,
            LeafState::Trained { lr_scale } => *lr_scale,
        };
        assert_eq!(decision.plan.states().iter().map(rate).collect::<Vec<_>>(), rates, "{pattern}");
        assert_eq!(decision.why.len(), expected.len(), "{pattern}");
    }
    let mut policy = Fake::new(&[&[0]]).only("bodi.**").expect("a pattern");
    let error = policy.decide(at(1), &base).expect_err("no match").to_string();
    assert!(error.contains("no leaf matches `bodi.**`"), "{error}");
    let mut policy = Fake::new(&[&[]]).only("bodi.**").expect("a pattern");
    assert!(policy.decide(at(1), &plan(0)).is_ok(), "a model without leaves has nothing to match");
    assert!(Fake::new(&[]).only("a[").is_err());
}

#[test]
fn of_two_policies_each_leaf_follows_the_one_that_trains_it_more_or_less() {
    let one = || Fake::new(&[&[0, 1]]).at_rate(0.5);
    let other = || Fake::new(&[&[0, 1, 2, 3]]);
    let mut least = one().min(other());
    let mut most = one().max(other());
    let (least, most) = (least.decide(at(1), &plan(6)), most.decide(at(1), &plan(6)));
    let (least, most) = (least.expect("decided"), most.expect("decided"));
    assert_eq!((frozen(&least), frozen(&most)), (vec![0, 1], vec![0, 1, 2, 3]));
    assert_eq!(least.plan.state(5), Some(LeafState::TRAINED));
    assert_eq!(most.plan.state(5), Some(LeafState::Trained { lr_scale: 0.5 }));
    // The reason is of the policy that the leaf follows, and nobody's count is right any more.
    assert_eq!((why(&least, 2).len(), why(&most, 2).len()), (0, 1));
    assert_eq!((least.depth(), most.depth()), (2, 4));
    // Sets that are no prefixes: what both freeze, what either does.
    let sets = || (Fake::new(&[&[1, 4]]), Fake::new(&[&[2, 4]]));
    let least = {
        let (a, b) = sets();
        a.min(b).decide(at(1), &plan(6))
    };
    let most = {
        let (a, b) = sets();
        a.max(b).decide(at(1), &plan(6))
    };
    assert_eq!(frozen(&least.expect("decided")), [4]);
    assert_eq!(frozen(&most.expect("decided")), [1, 2, 4]);
}

#[test]
fn the_run_ends_when_all_that_trained_is_frozen() {
    let mut base = plan(3);
    base.freeze("0").expect("a plan");
    let mut all = plan(2);
    all.freeze("**").expect("a plan");
    for (listed, base, ends) in [
        (&[1, 2][..], &base, true),
        (&[0, 1, 2], &plan(3), true),
        (&[0, 1], &plan(3), false),
        (&[], &base, false),
        // Nothing trained before.
        (&[], &all, false),
        (&[], &plan(0), false),
    ] {
        let mut policy = Fake::new(&[listed]).early_stop_when_all_frozen();
        let decision = policy.decide(at(1), base).expect("decided");
        assert_eq!(decision.ends_run, ends, "{listed:?}");
        assert_eq!(
            frozen(&decision),
            frozen(&Fake::new(&[listed]).decide(at(1), base).expect("decided"))
        );
    }
}

/// What is declared `always` no policy freezes, so that it is not waited for.
#[test]
fn the_run_ends_though_what_is_always_trained_is_not_frozen() {
    let json = r#"{"leaves": [["0", {"trained": {"lr_scale": 1.0}}], ["1", {"trained": {"lr_scale": 1.0}}]],
        "always": ["1"]}"#;
    let base: FreezePlan = serde_json::from_str(json).expect("a plan");
    for (listed, ends) in [(&[][..], false), (&[0], true), (&[1], false), (&[0, 1], true)] {
        let mut policy = Fake::new(&[listed]).early_stop_when_all_frozen();
        let decision = policy.decide(at(1), &base).expect("decided");
        assert_eq!(decision.ends_run, ends, "{listed:?}");
    }
}

#[test]
fn the_run_goes_on_where_something_trains_on() -> Result<()> {
    let ends = || Fake::new(&[&[0, 1, 2]]).early_stop_when_all_frozen();
    let rows: [(Boxed, usize, bool); 14] = [
        (Box::new(ends().with_ceiling(0.5)?), 1, false),
        (Box::new(ends().with_ceiling(1.0)?), 1, true),
        (Box::new(ends().with_floor(0.5)?), 1, true),
        (Box::new(ends().monotone()), 1, true),
        (Box::new(ends().only("[01]")?), 1, false),
        (Box::new(ends().only("**")?), 1, true),
        (Box::new(ends().at_most_per_round(0.5)?), 1, false),
        (Box::new(ends().at_most_per_round(1.0)?), 1, true),
        (Box::new(ends().then(0.5, all_trained(0.1)?)?), 1, false),
        (Box::new(ends().then(0.5, ends())?), 1, false),
        (Box::new(ends().then(0.5, ends())?), 6, true),
        (Box::new(all_trained(0.1)?.then(0.5, ends())?), 6, true),
        (Box::new(ends().unfreeze_on([0.5])?), 1, false),
        (Box::new(ends().unfreeze_on([0.5])?), 6, true),
    ];
    for (mut policy, step, expected) in rows {
        let decision = policy.decide(at(step), &plan(3))?;
        assert_eq!(decision.ends_run, expected, "{} after step {step}", policy.describe());
    }
    Ok(())
}

/// Of two that would end the run, `min` waits for both.
#[test]
fn a_pair_ends_the_run_as_it_freezes() {
    let ends = || Fake::new(&[&[0, 1]]).early_stop_when_all_frozen();
    let goes = || Fake::new(&[&[0]]);
    let ended = |decision: Result<Decision>| decision.expect("decided").ends_run;
    for (least, most, expected) in [
        (
            ended(ends().min(ends()).decide(at(1), &plan(2))),
            ended(ends().max(ends()).decide(at(1), &plan(2))),
            (true, true),
        ),
        (
            ended(ends().min(goes()).decide(at(1), &plan(2))),
            ended(ends().max(goes()).decide(at(1), &plan(2))),
            (false, true),
        ),
        (
            ended(goes().min(goes()).decide(at(1), &plan(2))),
            ended(goes().max(goes()).decide(at(1), &plan(2))),
            (false, false),
        ),
    ] {
        assert_eq!((least, most), expected);
    }
}
