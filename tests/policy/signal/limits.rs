//! Models without leaves and with many, runs of one step, leaves that the user froze or scaled.

use freeze_core::policy::{
    Boxed, By, GradEsSettings, Moment, Needs, Observation, Seen, Settings, least_changed,
};
use freeze_core::{Elapsed, Error, LeafState, Policy};

use super::rig::{POLICIES, Script, frozen, l1, model, numbered, plan, policy};

#[test]
fn models_of_any_size_and_runs_of_any_length() {
    for settings in POLICIES {
        let named = [r#", "exclude": ["embed"]"#, r#", "always": ["body.0.*"]"#];
        let settings =
            &named.iter().fold(settings.to_string(), |text, name| text.replace(name, ""));
        for leaves in [0, 1, 2, 800] {
            for (epochs, steps) in [(1, 3), (3, 3), (1, 1)] {
                let (base, mut policy) = (numbered(leaves), policy(settings));
                if settings.contains("interval\": 3") && steps < 3 {
                    continue;
                }
                for decision in Script::new(&base, epochs, steps).run(&mut policy) {
                    assert_eq!(decision.plan.len(), leaves, "{settings}");
                }
            }
        }
    }
}

/// The steps of a run in which the sums of gradients are taken, where it has other steps in all from `at` on.
fn windows_of(
    (lengths, at): ([usize; 2], usize),
    steps: std::ops::RangeInclusive<usize>,
) -> (Vec<usize>, Vec<usize>, Boxed) {
    let mut policy = policy(r#"{"policy": "auto-freeze", "windows": 4, "by": "leaf"}"#);
    let (mut taken, mut kept) = (Vec::new(), Vec::new());
    for step in steps {
        let steps = lengths[usize::from(step > at)];
        let time = |step| Elapsed::new(0, 1).at_step(step, steps);
        let takes = policy.needs(time(step - 1)).contains(Needs::GRADIENT_SUM);
        let seen = Observation::after_step(time(step), 1.0);
        policy
            .observe(&seen.tensor(Seen::new(0, "body.0", 1).gradient_sum(l1(1.0))))
            .expect("finite");
        if takes {
            taken.push(step);
        }
        if !policy.state()["waiting"].is_null() {
            kept.push(step);
        }
        if policy.is_due(time(step), Moment::Step) {
            policy.decide(time(step), &numbered(2)).expect("decided");
        }
    }
    (taken, kept, policy)
}

/// Sums of whole windows alone are compared: not of what is left of one.
#[test]
fn a_run_of_another_length_has_other_windows_for_auto_freeze() {
    for (lengths, at, steps, takes, keeps) in [
        ([16, 16], 16, 1..=16, &[4, 8, 12, 16][..], &[4, 8, 12, 16][..]),
        // Longer when it had ended, or half-way: the first sum is of two kinds of windows.
        ([8, 16], 8, 1..=16, &[2, 4, 6, 8, 9, 12, 16], &[2, 4, 6, 8, 16]),
        ([8, 16], 4, 1..=16, &[2, 4, 5, 8, 12, 16], &[2, 4, 12, 16]),
        // Shorter.
        ([32, 16], 12, 1..=16, &[8, 13, 16], &[8]),
        // It takes over within the run: within a window, and where one begins.
        ([16, 16], 16, 7..=16, &[8, 12, 16], &[12, 16]),
        ([16, 16], 16, 9..=16, &[12, 16], &[12, 16]),
    ] {
        let what = format!("{lengths:?} from step {at} on, {steps:?}");
        let (taken, kept, policy) = windows_of((lengths, at), steps);
        assert_eq!((&taken[..], &kept[..]), (takes, keeps), "{what}");
        assert_eq!(policy.state()["window"].as_u64(), Some(4), "{what}");
    }
}

#[test]
fn what_the_user_froze_or_scaled_stays() {
    for settings in POLICIES {
        let mut base = model(5);
        base.freeze("body.1.*").expect("leaves").train("body.3.*", 0.25).expect("leaves");
        for decision in Script::new(&base, 4, 24).run(&mut policy(settings)) {
            for (leaf, state) in decision.plan.states().iter().enumerate() {
                let LeafState::Trained { lr_scale: most } = base.states()[leaf] else {
                    assert!(state.is_frozen(), "{settings}: {leaf}");
                    continue;
                };
                match state {
                    LeafState::Frozen => {}
                    LeafState::Trained { lr_scale } => {
                        assert!((0.0..=most).contains(lr_scale), "{settings}: {leaf}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_model_frozen_by_hand_is_no_error() {
    for settings in POLICIES {
        let mut base = model(2);
        base.freeze("**").expect("leaves");
        for decision in Script::new(&base, 2, 24).run(&mut policy(settings)) {
            assert_eq!(decision.plan, base, "{settings}");
            assert!(!decision.ends_run, "{settings}");
        }
    }
}

#[test]
fn leaves_of_a_block_freeze_together_and_the_head_never() {
    let base = model(6);
    let settings = r#"{"policy": "auto-freeze", "windows": 24, "cap": null, "percentile": 90.0}"#;
    let decisions = Script::new(&base, 1, 24).run(&mut policy(settings));
    for decision in &decisions {
        let frozen = frozen(&decision.plan);
        // The embedding and whole blocks of two.
        assert!(frozen.is_empty() || frozen.len() % 2 == 1, "{frozen:?}");
        assert!(!frozen.contains(&(base.len() - 1)));
        let why: Vec<&str> = decision.why.iter().map(|why| why.leaf.as_str()).collect();
        assert_eq!(why.len(), frozen.len());
    }
    let last = decisions.last().expect("a decision");
    assert!(frozen(&last.plan).len() > 3);
    assert!(last.why[1].text.contains("its gradient changed by"), "{}", last.why[1].text);
    assert!(last.why[0].text.contains("`body.0`"), "{}", last.why[0].text);
}

#[test]
fn equal_scores_freeze_from_the_front() {
    for (scores, rate, expected) in [
        (vec![], 0.9, vec![]),
        (vec![1.0], 0.9, vec![]),
        (vec![1.0; 4], 0.5, vec![0, 1]),
        (vec![2.0, 1.0, 1.0, 1.0], 0.5, vec![1, 2]),
        (vec![1.0, 2.0], 1.0, vec![0, 1]),
    ] {
        assert_eq!(least_changed(&scores, rate), expected, "{scores:?}");
    }
}

/// As under `Training::turns`, where each loss reaches one part: the first reaches only what rests.
#[test]
fn a_leaf_that_the_loss_does_not_reach_keeps_its_turn() {
    let (base, mut ils) = (numbered(4), policy(r#"{"policy": "ils", "rate": 0.5}"#));
    let mut trained = [0; 4];
    for step in 0..8 {
        let at = Elapsed::new(0, 1).at_step(step, 8);
        let frozen = frozen(&ils.decide(at, &base).expect("a decision").plan);
        let mut seen = Observation::after_step(at.at_step(step + 1, 8), 1.0);
        for leaf in (0..4).filter(|leaf| step > 0 && !frozen.contains(leaf)) {
            trained[leaf] += 1;
            seen = seen.tensor(Seen::new(leaf, "w", 1).relative_update(0.1));
        }
        ils.observe(&seen).expect("finite numbers");
    }
    assert!(trained.iter().all(|steps| *steps > 0), "{trained:?}");
}

#[test]
fn calm_checks_must_follow_each_other_and_count_per_weight() {
    let settings = GradEsSettings { tau: 0.1, patience: 2, alpha: 0.0, ..Default::default() };
    let mut base = plan(&["a", "b"]);
    base.train("b", 0.1).expect("a leaf");
    let mut policy = settings.policy().expect("settings");
    // Relative to a weight of 10: `a` is calm at 1 % and not at 20 %; `b` at a tenth of the rate.
    let checks =
        [(0.1, 0.01, vec![]), (2.0, 0.2, vec![]), (0.1, 0.01, vec![]), (0.1, 0.2, vec![0])];
    for (step, (a, b, expected)) in checks.into_iter().enumerate() {
        let at = Elapsed::new(0, 1).at_step(step + 1, 10);
        let seen =
            |leaf, change| Seen::new(leaf, "w", 1).weight_change(l1(change)).weight(l1(10.0));
        let observation = Observation::after_step(at, 1.0).tensor(seen(0, a)).tensor(seen(1, b));
        policy.observe(&observation).expect("finite numbers");
        let decision = policy.decide(at, &base).expect("a decision");
        assert_eq!(frozen(&decision.plan), expected, "step {}", step + 1);
    }
}

#[test]
fn an_interval_longer_than_the_run_is_an_error_at_its_start() {
    let settings = GradEsSettings { interval: 20, ..Default::default() };
    let (mut policy, at) =
        (settings.policy().expect("settings"), Elapsed::new(0, 1).at_step(0, 10));
    assert!(policy.is_due(at, Moment::Start));
    let refused = policy.decide(at, &model(1)).expect_err("too long");
    assert_eq!(refused.to_string(), "`interval` is 20, expected at most the steps of the run");
}

#[test]
fn windows_without_a_step_of_their_own_are_left_out() {
    let settings = r#"{"policy": "auto-freeze", "windows": 1000, "by": "leaf"}"#;
    let decisions = Script::new(&numbered(9), 1, 6).run(&mut policy(settings));
    assert_eq!(decisions.len(), 6, "each step is a window");
    assert!(matches!(By::default(), By::Block));
}

#[test]
fn steps_must_be_counted_where_time_is_a_share_of_them() {
    for settings in ["auto-freeze", "grad-es"] {
        let mut policy = policy(&format!(r#"{{"policy": "{settings}"}}"#));
        let at = Elapsed::new(1, 3);
        assert!(policy.is_due(at, Moment::Epoch));
        let refused = policy.decide(at, &model(2));
        assert!(matches!(refused, Err(Error::Count { name: "steps", .. })), "{settings}");
    }
}
