//! Sinks, the watch, the order of samples, several optimizers.

use std::sync::{Arc, Mutex};

use freeze_core::checkpoint::MetricHistory;
use freeze_core::optim::{AdamW, ParamsSgd, Sgd};
use freeze_core::{Elapsed, Error, LayerFreezing, MetricSink, Result, Training};

use crate::rig::*;

/// What a sink was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(MetricHistory, usize)>>);

impl MetricSink for Told {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        self.0.lock().expect("no panic").0.record(name, value, elapsed);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.0.lock().expect("no panic").1 += 1;
        Ok(())
    }
}

struct Full;

impl MetricSink for Full {
    fn record(&mut self, name: &str, _: f64, _: Elapsed) -> Result<()> {
        Err(Error::Unsaved { what: format!("`{name}`"), why: "the disk is full".into() })
    }
}

#[test]
fn sinks_are_told_what_the_history_keeps_and_when_the_run_ends() -> Result<()> {
    let told = Told::default();
    let policy = LayerFreezing::new(0.0, 1.0)?;
    let mut run = plain()?.metrics(told.clone()).policy(policy);
    while let Some(epoch) = run.next_epoch()? {
        assert_eq!(told.0.lock().expect("no panic").1, 0);
        drive_epoch(&mut run, &epoch)?;
        run.epoch_end([("accuracy", 0.25)])?;
    }
    let told = told.0.lock().expect("no panic");
    assert_eq!((&told.0, told.1), (run.history(), 1));
    assert_eq!(run.history().records().len(), 4 * EPOCHS);
    assert_eq!(run.history().last("layer_freezing/layers_frozen"), Some(4.0));
    assert_eq!(run.history().last("accuracy"), Some(0.25));
    Ok(())
}

#[test]
fn a_sink_that_fails_is_told_once_and_loses_nothing() -> Result<()> {
    let told = Told::default();
    let (mut run, mut whole) = (plain()?.metrics(Full).metrics(told.clone()), plain()?);
    drive(&mut whole)?;
    let mut unrecorded = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        drive_epoch(&mut run, &epoch)?;
        unrecorded.push(run.epoch_end([])?.unrecorded);
    }
    let [first] = &unrecorded[0][..] else { panic!("told once: {unrecorded:?}") };
    assert!(first.contains("could not record `"), "{first}");
    assert!(first.ends_with("the disk is full"), "{first}");
    assert!(unrecorded[1..].iter().all(Vec::is_empty), "{unrecorded:?}");
    assert_same(&weights(&run), &weights(&whole), "a full disk");
    assert_eq!(run.history(), whole.history());
    // The other sink heard of all, and of the end.
    let told = told.0.lock().expect("no panic");
    assert_eq!((&told.0, told.1), (run.history(), 1));
    Ok(())
}

#[test]
fn the_sink_of_a_policy_does_not_stop_the_run_either() -> Result<()> {
    let policy = || LayerFreezing::new(0.0, 1.0);
    let (mut run, mut whole) =
        (plain()?.policy(policy()?.with_sink(Full)), plain()?.policy(policy()?));
    drive(&mut whole)?;
    let mut unrecorded = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        drive_epoch(&mut run, &epoch)?;
        unrecorded.extend(run.epoch_end([])?.unrecorded);
    }
    assert_eq!(unrecorded.len(), 1, "{unrecorded:?}");
    assert_same(&weights(&run), &weights(&whole), "a full disk");
    assert_eq!(run.history(), whole.history());
    assert!(run.freezer().plan().frozen_leaves() > 0);
    Ok(())
}

#[test]
fn the_watch_sees_every_batch() -> Result<()> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let pushed = Arc::clone(&seen);
    let mut run = plain()?.accumulate(2)?.watch(move |progress| {
        let step = progress.elapsed.step;
        pushed.lock().expect("no panic").push((progress.batch, step, progress.mean_loss));
    });
    let epoch = run.next_epoch()?.expect("an epoch");
    drive_epoch(&mut run, &epoch)?;
    let spent = run.spent();
    let report = run.epoch_end([])?;
    let seen = seen.lock().expect("no panic");
    let places: Vec<_> = seen.iter().map(|(batch, step, _)| (*batch, *step)).collect();
    assert_eq!(places, [(1, 0), (2, 1), (3, 1), (4, 2), (5, 3)]);
    assert_eq!(seen.last().map(|(.., mean)| *mean), Some(report.loss));
    assert!(report.spent.backward + report.spent.update <= report.spent.training);
    assert!(!report.spent.backward.is_zero() && !report.spent.update.is_zero());
    assert_eq!([spent.backward, spent.update], [report.spent.backward, report.spent.update]);
    assert!(!spent.training.is_zero() && spent.training <= report.spent.training);
    Ok(())
}

#[test]
fn the_seed_and_the_epoch_decide_the_order() -> Result<()> {
    let order = |seed: u64, epochs: usize| -> Result<Vec<Vec<u32>>> {
        let mut run = plain()?.seed(seed);
        for _ in 1..epochs {
            let epoch = run.next_epoch()?.expect("an epoch");
            drive_epoch(&mut run, &epoch)?;
            run.epoch_end([])?;
        }
        let epoch = run.next_epoch()?.expect("an epoch");
        let mut all: Vec<u32> = epoch.shuffled(SAMPLES, SIZE).flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (0..SAMPLES as u32).collect::<Vec<_>>(), "each sample once");
        Ok(epoch.shuffled(SAMPLES, SIZE).collect())
    };
    assert_eq!(order(1, 2)?, order(1, 2)?);
    assert_ne!(order(1, 1)?, order(1, 2)?);
    assert_ne!(order(1, 1)?, order(2, 1)?);
    Ok(())
}

#[test]
fn optimizers_by_pattern_share_one_clip_and_keep_their_own_rates() -> Result<()> {
    let sgd = |lr| move |vars| Sgd::with_names(vars, ParamsSgd { lr, ..Default::default() });
    let run = |parts: bool, lr: f64| -> Result<Training<Net>> {
        let mut run = Training::new(Net::new(1)?)?;
        if parts {
            run = run.optimizer_for("body.**", sgd(0.1))?;
        }
        let mut run = run.optimizer(sgd(lr))?.clip(freeze_core::optim::GradClip::Norm(0.05))?;
        run = run.rate(|progress| 1.0 - progress).length(EPOCHS, BATCHES)?;
        drive(&mut run)?;
        Ok(run)
    };
    let (together, apart, other) = (run(false, 0.1)?, run(true, 0.1)?, run(true, 0.01)?);
    for ((name, one), (_, two)) in weights(&together).iter().zip(&weights(&apart)) {
        for (one, two) in one.iter().zip(two) {
            let (one, two) = (f32::from_bits(*one), f32::from_bits(*two));
            assert!((one - two).abs() < 1e-6, "`{name}`: {one} and {two}");
        }
    }
    assert_ne!(weights(&apart), weights(&other));
    assert!(other.optimizer_as::<Sgd>(1).is_some() && other.optimizer_as::<AdamW>(0).is_none());
    assert!(other.optimizer_as::<Sgd>(2).is_none());
    Ok(())
}

#[test]
fn a_leaf_that_the_loss_does_not_reach_is_found_once() -> Result<()> {
    for policy in ["none", "at epochs", "between steps"] {
        let mut run = plain()?;
        let linear = LayerFreezing::new(0.9, 0.0)?;
        run = match policy {
            "none" => run,
            "at epochs" => run.policy(linear),
            _ => run.policy(linear.every_steps(1)?),
        };
        let mut findings = Vec::new();
        while let Some(epoch) = run.next_epoch()? {
            for _ in epoch.in_order(SAMPLES, SIZE) {
                run.step(&run.model().head.weight().sqr()?.mean_all()?)?;
            }
            findings.push(run.epoch_end([])?.findings);
        }
        let first: Vec<String> = findings[0].iter().map(|finding| finding.to_string()).collect();
        assert!(first.iter().any(|finding| finding.contains("stem")), "{policy}: {first:?}");
        assert!(findings[1..].iter().all(|later| later.is_empty()), "{policy}: {findings:?}");
    }
    let mut run = plain()?;
    let epoch = run.next_epoch()?.expect("an epoch");
    drive_epoch(&mut run, &epoch)?;
    assert_eq!(run.epoch_end([])?.findings, []);
    Ok(())
}

#[test]
fn a_run_of_which_all_is_frozen_goes_on_and_updates_nothing() -> Result<()> {
    let mut run = plain()?;
    run.freeze_front(5)?;
    let before = weights(&run);
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(SAMPLES, SIZE) {
            assert!(!run.step(&loss(&run, &which)?)?.updated);
        }
        run.epoch_end([])?;
    }
    // Statistics go on moving.
    let weight = |(name, _): &&(String, Vec<u32>)| !name.contains("running");
    let after = weights(&run);
    assert!(after.iter().filter(weight).eq(before.iter().filter(weight)));
    assert_ne!(after, before);
    assert_eq!(run.optimizer_as::<AdamW>(0).map(AdamW::state_bytes), Some(0));
    Ok(())
}

#[test]
fn a_plan_by_hand_holds_from_the_next_batch_on_and_the_policy_refines_it() -> Result<()> {
    let mut run = plain()?.policy(LayerFreezing::new(0.0, 0.5)?).accumulate(2)?;
    let epoch = run.next_epoch()?.expect("an epoch");
    let mut batches = epoch.shuffled(SAMPLES, SIZE);
    run.step(&loss(&run, &batches.next().expect("a batch"))?)?;
    // What was gathered for the body is let go.
    let mut plan = run.freezer().plan().clone();
    plan.freeze("body.**")?;
    assert_eq!(run.apply(&plan)?.frozen, ["body.0", "body.1"]);
    let before = weights(&run);
    for which in batches {
        run.step(&loss(&run, &which)?)?;
    }
    run.epoch_end([])?;
    for ((name, before), (_, after)) in before.iter().zip(&weights(&run)) {
        assert_eq!(name.starts_with("body"), before == after, "`{name}`");
    }
    while let Some(epoch) = run.next_epoch()? {
        drive_epoch(&mut run, &epoch)?;
        run.epoch_end([])?;
    }
    let frozen: Vec<bool> =
        run.freezer().plan().states().iter().map(|state| state.is_frozen()).collect();
    assert_eq!(frozen, [true, true, true, true, false], "two by the schedule, the body by hand");
    Ok(())
}
