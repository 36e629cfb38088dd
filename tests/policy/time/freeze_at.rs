//! Freezing at given points: by hand, and against PipeTransformer's tables of such points.

use std::collections::BTreeMap;

use freeze_core::policy::{FreezeAtSettings, Front, Milestone, Moment, Settings, When};
use freeze_core::{Elapsed, LeafState, Policy};

use super::rig::{
    always, count, decided, frozen, leaves, net, points, recorded, refused, rows, step,
};

fn settings(milestones: &[(When, Front)]) -> FreezeAtSettings {
    let milestone = |(at, freeze): &(When, Front)| Milestone { at: *at, freeze: freeze.clone() };
    FreezeAtSettings { milestones: milestones.iter().map(milestone).collect() }
}

/// Each recorded table is a list of milestones: the epochs at which its count rises.
#[test]
fn follows_every_recorded_table() {
    let golden = recorded(include_str!("../../data/policies/geometric.json"));
    let mut tables: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for row in rows(&golden["hand_crafted"]["rows"]) {
        let table = tables.entry(row[0].as_str().expect("a name")).or_default();
        table.push((count(&row[1]), count(&row[2])));
    }
    assert!(tables.len() >= 5, "{} tables", tables.len());
    for (name, table) in tables {
        let rise = |(epoch, depth): &(usize, usize)| {
            let last = epoch.checked_sub(1).map_or(0, |last| table[last].1);
            (*depth > last).then_some((When::Epoch(*epoch), Front::Leaves(*depth)))
        };
        let milestones: Vec<_> = table.iter().filter_map(rise).collect();
        let mut policy = settings(&milestones).policy().expect("a policy");
        for (epoch, depth) in &table {
            let at = Elapsed::new(*epoch, table.len());
            let plan = policy.decide(at, &leaves(13)).expect("a decision").plan;
            assert_eq!(plan.frozen_leaves(), *depth, "{name}, epoch {epoch}");
        }
    }
}

#[test]
fn freezes_up_to_what_is_named() {
    let milestones = [
        (When::Share(0.1), Front::UpTo("embed".into())),
        (When::Epoch(1), Front::UpTo("body.{0,1}.a".into())),
        (When::Share(0.75), Front::Share(1.0)),
    ];
    let mut policy = settings(&milestones).policy().expect("a policy");
    let mut changes = Vec::new();
    for (at, moment) in points(2, 10) {
        let decision = policy.decide(at, &net(2)).expect("a decision");
        let depth = decision.plan.frozen_leaves();
        if changes.last().is_none_or(|(_, last)| *last != depth) {
            assert!(policy.is_due(at, moment), "{at:?}");
            changes.push((at.step, depth));
        } else if moment == Moment::Step {
            assert!(!policy.is_due(at, moment), "nothing changes at {at:?}");
        }
    }
    assert_eq!(changes, [(0, 0), (2, 1), (10, 4), (15, 5)]);
    let at = Elapsed::new(1, 2).at_step(15, 20);
    let decision = policy.decide(at, &net(2)).expect("a decision");
    assert_eq!(frozen(&decision.plan), ["embed", "body.0.a", "body.0.b", "body.1.a", "body.1.b"]);
    let why = "`embed` froze: the run is past 0.75 of the run, 5 of 6 leaves are due";
    assert_eq!(decision.why[0].to_string(), why);
}

#[test]
fn refines_what_was_set_by_hand_and_leaves_alone_what_is_always() {
    let all = settings(&[(When::Share(0.5), Front::Leaves(3))]);
    let mut base = leaves(5);
    base.set(4, LeafState::Frozen).and_then(|p| p.train("3", 0.5)).expect("a plan");
    let plan = decided(all.clone(), step(1, 2), &base).expect("a decision").plan;
    let mut expected = base.clone();
    expected.freeze_front(3).expect("a plan");
    assert_eq!(plan, expected);
    assert_eq!(decided(all.clone(), step(0, 2), &base).expect("a decision").plan, base);
    let plan = decided(all, step(2, 2), &always()).expect("a decision").plan;
    assert_eq!(frozen(&plan), ["second", "third"]);
    for n in [0, 1] {
        let plan =
            decided(FreezeAtSettings::default(), step(1, 1), &leaves(n)).expect("a decision").plan;
        assert_eq!(plan, leaves(n), "{n} leaves");
    }
}

#[test]
fn refuses_lists_that_make_no_sense() {
    use Front::{Leaves, Share, UpTo};
    let at = When::Share;
    for (milestones, what) in [
        (vec![], "the policy `freeze-at`: it has no milestone; give at least one"),
        (
            vec![(at(1.0), Leaves(1))],
            "`share` is 1, expected a number of at least 0 and less than 1",
        ),
        (
            vec![(at(f64::NAN), Leaves(1))],
            "`share` is NaN, expected a number of at least 0 and less than 1",
        ),
        (vec![(at(0.5), Share(1.1))], "`share` is 1.1, expected a number from 0 to 1"),
        (vec![(at(0.5), UpTo("[".into()))], "`[` is not a pattern"),
        (
            vec![(at(0.5), Leaves(1)), (When::Epoch(1), Leaves(1)), (at(0.25), Leaves(2))],
            "the policy `freeze-at`: 0.5 of the run stands before 0.25 of the run, but does not come \
             before it; sort the list",
        ),
        (
            vec![(When::Epoch(2), Leaves(1)), (When::Epoch(2), Leaves(2))],
            "the policy `freeze-at`: epoch 2 stands before epoch 2, but does not come before it; sort \
             the list",
        ),
    ] {
        let error = refused(settings(&milestones).policy());
        assert!(error.starts_with(what), "{error}");
    }
    let start = Elapsed::new(0, 4).at_step(0, 8);
    for (milestones, what) in [
        (vec![(at(0.5), Leaves(9))], "cannot freeze up to leaf 9: the model has 6 leaves"),
        (vec![(at(0.5), UpTo("tail".into()))], "no leaf matches `tail`"),
        (
            vec![(When::Epoch(4), Leaves(1))],
            "the policy `freeze-at`: it acts when 4 epochs are over, but the run has 4: no step would \
             follow",
        ),
        (
            vec![(at(0.5), Leaves(1)), (When::Epoch(2), Leaves(1))],
            "the policy `freeze-at`: 0.5 of the run stands before epoch 2, but does not come before it",
        ),
        (
            vec![(at(0.5), Leaves(3)), (at(0.75), UpTo("body.0.a".into()))],
            "the policy `freeze-at`: milestone 2 freezes 2 leaves and the one before it 3; what is frozen \
             stays so",
        ),
    ] {
        let policy = settings(&milestones).policy().expect("a list");
        assert!(policy.is_due(start, Moment::Start), "it is found out before the first step");
        let error = refused(policy.clone().decide(start, &net(2)));
        assert!(error.starts_with(what), "{error}");
    }
}
