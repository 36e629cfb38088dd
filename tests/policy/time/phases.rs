//! Phases: by hand, and fastai's recipe.

use freeze_core::policy::{Moment, Phase, PhasesSettings, Settings, When};
use freeze_core::{Elapsed, LeafState, Policy};

use super::rig::{always, decided, frozen, leaves, net, points, rates, refused, step};

fn phase(train: &[&str], freeze: &[&str], rates: &[(&str, f64)], until: Option<When>) -> Phase {
    let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
    let rates = rates.iter().map(|(pattern, rate)| (pattern.to_string(), *rate)).collect();
    Phase { train: owned(train), freeze: owned(freeze), rates, until }
}

fn three() -> PhasesSettings {
    let phases = vec![
        phase(&["head"], &[], &[], Some(When::Epoch(1))),
        phase(
            &["body.**", "head"],
            &["body.0.b"],
            &[("body.**", 0.1), ("**.a", 0.5)],
            Some(When::Share(0.7)),
        ),
        phase(&[], &[], &[], None),
    ];
    PhasesSettings { phases }
}

#[test]
fn each_phase_has_its_plan() {
    let mut policy = three().policy().expect("a policy");
    let mut changes = Vec::new();
    for (at, moment) in points(2, 10) {
        let decision = policy.decide(at, &net(1)).expect("a decision");
        let (phase, rates) = (decision.metrics["phases/phase"], rates(&decision.plan));
        let now = (at.step, phase, rates);
        if changes.last().is_none_or(|(_, phase, _)| *phase != now.1) {
            assert!(policy.is_due(at, moment), "{at:?}");
            changes.push(now);
        } else if moment == Moment::Step {
            assert!(!policy.is_due(at, moment), "nothing changes at {at:?}");
        }
    }
    let one = Some(1.0);
    let expected = [
        (0, 1.0, vec![None, None, None, one]),
        (10, 2.0, vec![None, Some(0.05), None, one]),
        (14, 3.0, vec![one; 4]),
    ];
    assert_eq!(changes, expected);
    let why = policy.decide(Elapsed::new(1, 2).at_step(10, 20), &net(1)).expect("a decision").why;
    let why: Vec<String> = why.iter().map(ToString::to_string).collect();
    assert_eq!(why[0], "`embed` froze: phase 2 of 3 does not train it");
    assert_eq!(why[1], "`body.0.a` trains at 0.05 of its rate in phase 2 of 3");
}

#[test]
fn refines_what_was_set_by_hand_and_leaves_alone_what_is_always() {
    let mut base = net(1);
    base.set(1, LeafState::Frozen).and_then(|p| p.train("head", 0.5)).expect("a plan");
    let rates_of = |at, base| rates(&decided(three(), at, base).expect("a decision").plan);
    assert_eq!(rates_of(Elapsed::new(0, 2), &base), [None, None, None, Some(0.5)]);
    assert_eq!(rates_of(Elapsed::new(2, 2), &base), rates(&base));
    let only = vec![phase(&["second"], &["**"], &[("first", 0.5)], None)];
    let plan =
        decided(PhasesSettings { phases: only }, step(0, 1), &always()).expect("a decision").plan;
    assert_eq!((frozen(&plan), rates(&plan)[0]), (vec!["second", "third"], Some(0.5)));
    for n in [0, 1] {
        let plan =
            decided(PhasesSettings::default(), step(1, 1), &leaves(n)).expect("a decision").plan;
        assert_eq!(plan, leaves(n), "{n} leaves");
    }
}

/// fastai spaces the rates of groups evenly by factors, from `lr / lr_mult` to `lr`, which it halves.
#[test]
fn fine_tunes_as_fastai_does() {
    let groups = ["embed", "body.0.**", "head"];
    let settings = PhasesSettings::fine_tune(&groups, 1, 100.0).expect("a recipe");
    let plan = decided(settings.clone(), Elapsed::new(0, 5), &net(1)).expect("a decision").plan;
    assert_eq!(rates(&plan), [None, None, None, Some(1.0)]);
    let plan = decided(settings, Elapsed::new(1, 5), &net(1)).expect("a decision").plan;
    for (rate, expected) in rates(&plan).into_iter().zip([0.005, 0.05, 0.05, 0.5]) {
        assert!((rate.expect("trained") - expected).abs() < 1e-15, "{rate:?} for {expected}");
    }
    let one = PhasesSettings::fine_tune(&["**"], 1, 100.0).expect("one group");
    assert_eq!(
        rates(&decided(one, Elapsed::new(1, 2), &leaves(1)).expect("a plan").plan),
        [Some(0.5)]
    );
    for (groups, epochs, lr_mult, what) in [
        (&[][..], 1, 100.0, "`groups` is 0, expected at least 1"),
        (&["**"], 0, 100.0, "`epochs` is 0, expected at least 1"),
        (&["**"], 1, 0.0, "`lr_mult` is 0, expected a finite number above 0"),
        (&["**"], 1, f64::NAN, "`lr_mult` is NaN, expected a finite number above 0"),
    ] {
        assert_eq!(refused(PhasesSettings::fine_tune(groups, epochs, lr_mult)), what);
    }
}

#[test]
fn refuses_lists_that_make_no_sense() {
    let until = |when| phase(&[], &[], &[], when);
    let (early, late) = (Some(When::Share(0.25)), Some(When::Share(0.5)));
    for (phases, what) in [
        (vec![], "the policy `phases`: it has no phase; give at least one"),
        (
            vec![until(early), until(None), until(None)],
            "the policy `phases`: phase 2 is not the last one and has no `until`; add it",
        ),
        (
            vec![until(early), until(late)],
            "the policy `phases`: the last phase goes on to the end of the run, not until 0.5 of the run; \
             leave `until` out",
        ),
        (
            vec![until(late), until(early), until(None)],
            "the policy `phases`: 0.5 of the run stands before 0.25 of the run, but does not come before \
             it; sort the list",
        ),
        (vec![phase(&["["], &[], &[], None)], "`[` is not a pattern"),
        (vec![phase(&[], &["["], &[], None)], "`[` is not a pattern"),
        (vec![phase(&[], &[], &[("[", 1.0)], None)], "`[` is not a pattern"),
        (
            vec![phase(&[], &[], &[("**", -1.0)], None)],
            "`rates` is -1, expected a finite number of at least 0",
        ),
    ] {
        let error = refused(PhasesSettings { phases }.policy());
        assert!(error.starts_with(what), "{error}");
    }
    let start = Elapsed::new(0, 2);
    for (last, what) in [
        (phase(&["tail"], &[], &[], None), "no leaf matches `tail`"),
        (phase(&[], &["tail"], &[], None), "no leaf matches `tail`"),
        (phase(&[], &[], &[("tail", 1.0)], None), "no leaf matches `tail`"),
        (phase(&["body"], &[], &[], None), "no leaf matches `body`"),
    ] {
        let policy = PhasesSettings { phases: vec![until(early), last] }.policy().expect("a list");
        assert!(policy.is_due(start, Moment::Start), "it is found out before the first step");
        let error = refused(policy.clone().decide(start, &net(1)));
        assert!(error.starts_with(what), "{error}");
    }
    let late = PhasesSettings { phases: vec![until(Some(When::Epoch(2))), until(None)] };
    let error = refused(decided(late, start, &net(1)));
    assert!(error.starts_with("the policy `phases`: it acts when 2 epochs are over"), "{error}");
}
