//! A run with any settings, stopped, taken back, refused and changed by hand anywhere, is the run that was left alone:
//! the same losses, weights, moments, plans and generators, bit for bit, whatever computes them.

mod drive;
mod settings;

use candle_nn::loss::cross_entropy;
use freeze_core::policy::from_text;
use proptest::prelude::*;

use crate::cache::net::{SAMPLES, SIZE, batch};
use crate::rig::random_cases;
use drive::{Turn, courses, turns};
use settings::{POLICIES, Settings, Way, settings, way};

proptest! {
    #![proptest_config(random_cases("tests/train/any_run/seeds.txt"))]

    #[test]
    fn a_run_that_is_disturbed_anywhere_is_the_run_left_alone(
        settings in settings(), first in way(), turns in turns(),
    ) {
        check(&settings, &first, &turns);
    }
}

/// Every policy, whatever the cases above come upon.
#[test]
fn each_policy_goes_on_from_a_save_in_the_middle() {
    let mixed = Way { cache: Some(128), recompute: 2, ..Way::default() };
    for policy in 0..POLICIES.len() {
        let settings = Settings { policy, ..Settings::default() };
        for at in [4, 11] {
            check(&settings, &Way::default(), &[(at, Turn::Rebuild(mixed.clone()))]);
        }
    }
}

/// What failed before.
#[test]
fn turns_that_were_hard() {
    let by = |name: &str| {
        let policy = POLICIES.iter().position(|policy| policy.starts_with(name)).expect("a policy");
        Settings { policy, ..Settings::default() }
    };
    let plain = Way::default();
    // Saved behind the last batch of an epoch, whose end is still to come.
    check(&by("linear"), &plain, &[(18, Turn::Rebuild(plain.clone()))]);
    // Ranks whose batches differ draw different amounts.
    let ranks = Settings { ranks: true, ..by("linear") };
    check(&ranks, &plain, &[(1, Turn::Save), (6, Turn::Back)]);
    // A plan by hand in front of the first step, which the policy has had its say about.
    for name in ["spectrum", "ils"] {
        let turns = [(0, Turn::FreezeFront(0)), (0, Turn::Save), (0, Turn::Back)];
        check(&by(name), &plain, &turns);
    }
}

#[test]
fn an_epoch_without_a_batch_left_comes_once_after_a_resume() -> freeze_core::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut run = settings::run(&Settings::default(), &Way::default(), None, 1)?;
    let epoch = run.next_epoch()?.expect("an epoch");
    for which in epoch.shuffled(SAMPLES, SIZE) {
        let (keys, xs, ys) = batch(&which)?;
        let scores = run.forward(&keys, xs, &())?;
        run.step(&cross_entropy(&scores, &ys)?)?;
    }
    for _ in 0..2 {
        let forgotten = run.next_epoch().expect_err("the end is to come").to_string();
        assert!(forgotten.contains("call `epoch_end`"), "{forgotten}");
        run.save(&path)?;
        run.resume_from(&path)?;
        let same = run.next_epoch()?.expect("the same epoch");
        assert_eq!((same.index, same.shuffled(SAMPLES, SIZE).count()), (0, 0));
    }
    run.epoch_end([])?;
    assert_eq!(run.next_epoch()?.expect("an epoch").index, 1);
    Ok(())
}

#[test]
fn a_policy_that_replaces_another_before_the_first_step_is_asked() -> freeze_core::Result<()> {
    let mut run = settings::run(&Settings::default(), &Way::default(), None, 1)?;
    run.next_epoch()?;
    assert!(run.freezer().plan().states().iter().all(|state| !state.is_frozen()));
    let front = r#"freeze-at:milestones=[{"at":{"share":0.0},"freeze":{"up-to":"blocks.0"}}]"#;
    run = run.policy(from_text(front)?);
    run.next_epoch()?;
    let frozen = run.freezer().plan().states().iter().filter(|state| state.is_frozen()).count();
    assert_eq!(frozen, 2);
    Ok(())
}

#[track_caller]
fn check(settings: &Settings, first: &Way, turns: &[(usize, Turn)]) {
    let by_hand: Vec<(usize, Turn)> =
        turns.iter().filter(|(_, turn)| turn.is_by_hand()).cloned().collect();
    let context = || format!("`{}`, {settings:?}, {first:?}, {turns:?}", POLICIES[settings.policy]);
    let plain = courses(settings, &Way::default(), &by_hand);
    for (disturbed, plain) in courses(settings, first, turns).into_iter().zip(plain) {
        let plain = plain.expect("a plain run");
        match disturbed {
            Ok(disturbed) => assert_eq!(disturbed.difference(&plain), "", "{}", context()),
            Err(error) => panic!("{error}: {}", context()),
        }
    }
}
