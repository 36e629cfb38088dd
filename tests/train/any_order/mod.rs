//! A run driven through random turns, beside a slow plain one: whatever the order in which plans,
//! schedules, refusals, saves and resumes come, weights, statistics, moments, generators, bytes and
//! lists must be those of the plain run after every turn.

mod net;
mod plain;
mod real;
mod turn;

use proptest::prelude::*;

use crate::rig::random_cases;
use plain::Plain;
use real::Real;
use turn::{Turn, turns};

proptest! {
    #![proptest_config(random_cases("tests/train/any_order/seeds.txt"))]

    #[test]
    fn any_order_of_turns_is_what_the_plain_run_makes_of_it(turns in turns()) {
        drive(&turns);
    }
}

/// Two models, as in adversarial training, each with a twin.
fn drive(turns: &[(usize, Turn)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut sides: Vec<(Real, Plain)> = (0..2)
        .map(|seed| {
            let real = Real::new(seed, folder.path()).expect("a run");
            (real, Plain::new(seed).expect("a plain run"))
        })
        .collect();
    for (at, (side, turn)) in turns.iter().enumerate() {
        let (real, plain) = &mut sides[*side];
        let (real_says, plain_says) = (real.take(turn), plain.take(turn));
        match (&real_says, &plain_says) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(words)) => {
                let error = error.to_string();
                assert!(error.contains(words), "turn {at} {turn:?}: `{words}` not in `{error}`");
            }
            _ => panic!("turn {at} {turn:?}: {real_says:?}, the plain run {plain_says:?}"),
        }
        for (real, plain) in &mut sides {
            let differences = real.picture().differences(&plain.picture());
            assert_eq!(differences, "", "after turn {at} of {turns:?}");
        }
    }
}

/// Turns that failed before, by name.
#[test]
fn turns_that_were_hard() {
    use Turn::*;
    let rows: [&[Turn]; 8] = [
        &[Plan(vec![Some(0.5); 4]), NewOptimizer, Step, Save(0), Step],
        &[Step, Save(0), FreezeFront(3), Step, Resume(0), Step],
        &[Step, KeepState(true), FreezeFront(2), KeepState(false), Thaw, Step],
        &[Step, PlanWithoutOptimizer(1), Step, Thaw, Step],
        &[Step, Save(0), RefusedResume, Step, RefusedPlan, Step, Resume(0), Step],
        &[Gather, FreezeFront(1), Gather, Thaw, Gather, Apply, Step],
        &[Inference(true), FreezeFront(3), Step, Save(0), Step, Resume(0), Step],
        &[Schedule(1), Step, RefusedSchedule, Schedule(2), Step, Schedule(1), Step],
    ];
    for row in rows {
        drive(&row.iter().map(|turn| (0, turn.clone())).collect::<Vec<_>>());
    }
}
