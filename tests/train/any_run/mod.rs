//! A run with any settings, stopped, taken back, refused and changed by hand anywhere, is the run that was left alone:
//! the same losses, weights, moments, plans and generators, bit for bit, whatever computes them.

mod drive;
mod settings;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use drive::{Turn, courses, turns};
use settings::{POLICIES, Settings, Way, settings, way};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48),
        // Seeds of failures are kept beside the test and tried first.
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/train/any_run/seeds.txt"))),
        ..ProptestConfig::default()
    })]

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
