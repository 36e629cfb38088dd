//! A resumed run is the same run, wherever it was stopped.

use freeze_core::EarlyStop;
use freeze_core::checkpoint::{Goal, Manager};
use freeze_core::optim::AdamW;

use crate::rig::*;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Weights, bytes of optimizer state and metrics at the end.
#[track_caller]
fn assert_same_end(one: &Rig, other: &Rig, context: &str) {
    assert_same(&weights(&one.run), &weights(&other.run), context);
    for at in 0..2 {
        let bytes = |rig: &Rig| rig.run.optimizer_as::<AdamW>(at).map(AdamW::state_bytes);
        assert_eq!(bytes(one), bytes(other), "{context}");
    }
    for (one, other) in one.run.history().records().iter().zip(other.run.history().records()) {
        assert_eq!(one, other, "{context}");
    }
    assert_eq!(one.run.history().records().len(), other.run.history().records().len(), "{context}");
}

#[test]
fn after_every_batch() -> Result {
    let folder = tempfile::tempdir()?;
    let path = |batch: usize| folder.path().join(format!("{batch}.safetensors"));
    let mut whole = Rig::new(3)?;
    let mut batch = 0;
    whole.go_on(|rig| {
        batch += 1;
        rig.run.save(path(batch))?;
        Ok(true)
    })?;
    assert_eq!(batch, EPOCHS * BATCHES);
    for batch in 1..=batch {
        // Other weights, other generators, and every second one has run for a while.
        let mut later = Rig::new(100 + batch as u64)?;
        if batch % 2 == 0 {
            let mut left = batch;
            later.go_on(|_| {
                left -= 1;
                Ok(left > 0)
            })?;
        }
        later.run.resume_from(path(batch))?;
        if batch % BATCHES == 0 {
            // All batches of the epoch were done, its end was not.
            later.run.epoch_end([("valid/loss", valid(&later.run)?)])?;
        }
        later.go_on(|_| Ok(true))?;
        assert_same_end(&later, &whole, &format!("stopped after batch {batch}"));
    }
    Ok(())
}

#[test]
fn from_the_manager_between_steps_and_at_epoch_ends() -> Result {
    for by_steps in [false, true] {
        let folder = tempfile::tempdir()?;
        let manager = || -> freeze_core::Result<Manager> {
            let manager = Manager::new(folder.path())?.keep_last(2)?;
            if by_steps { manager.save_every_steps(2) } else { Ok(manager) }
        };
        let mut whole = Rig::new(3)?;
        whole.go_on(|_| Ok(true))?;
        // Each try dies after four more batches.
        for tries in 0.. {
            assert!(tries < 20, "no progress");
            let mut rig = Rig::new(tries)?;
            rig.run = rig.run.checkpoints(manager()?).seed(3);
            if tries == 0 {
                rig = Rig::new(3)?;
                rig.run = rig.run.checkpoints(manager()?);
            }
            let resumed = rig.run.resume()?;
            assert_eq!(resumed.is_some(), tries > 0);
            let mut left = 6;
            rig.go_on(|_| {
                left -= 1;
                Ok(left > 0)
            })?;
            if rig.run.elapsed().epoch == EPOCHS {
                assert_same_end(&rig, &whole, &format!("by steps: {by_steps}"));
                break;
            }
        }
    }
    Ok(())
}

#[test]
fn a_longer_run_goes_on_and_a_shorter_one_is_refused() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    let mut run = plain()?;
    drive(&mut run)?;
    run.save(&path)?;
    let mut longer = plain()?.length(EPOCHS + 1, BATCHES)?;
    longer.resume_from(&path)?;
    assert_eq!(longer.elapsed().epoch, EPOCHS);
    drive(&mut longer)?;
    assert_eq!(longer.elapsed().epoch, EPOCHS + 1);
    assert_eq!(longer.elapsed().step, (EPOCHS + 1) * BATCHES);

    let mut shorter = plain()?.length(EPOCHS - 1, BATCHES)?;
    let (before, refused) = (weights(&shorter), shorter.resume_from(&path));
    let refused = refused.expect_err("a shorter run").to_string();
    assert!(refused.contains("4 epochs") && !refused.contains("freeze.training"), "{refused}");
    assert_same(&weights(&shorter), &before, "refused");
    drive(&mut shorter)?;
    Ok(())
}

#[test]
fn the_time_of_an_epoch_goes_on_where_it_was_left() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    let mut run = plain()?;
    let epoch = run.next_epoch()?.expect("an epoch");
    for which in epoch.shuffled(SAMPLES, SIZE).take(3) {
        run.step(&loss(&run, &which)?)?;
    }
    let before = run.spent();
    assert!(!before.training.is_zero());
    run.save(&path)?;
    let mut resumed = plain()?;
    resumed.resume_from(&path)?;
    assert_eq!(resumed.spent(), before);
    // The one was resumed, the other left its loop.
    for mut run in [resumed, run] {
        let epoch = run.next_epoch()?.expect("the same epoch");
        assert_eq!((run.spent(), epoch.done), (before, 3));
        drive_epoch(&mut run, &epoch)?;
        let spent = run.epoch_end([])?.spent;
        assert!(spent.training > before.training && spent.backward > before.backward);
        assert!(spent.training >= spent.backward + spent.update);
        run.next_epoch()?;
        assert_eq!(run.spent(), Default::default(), "another epoch");
    }
    Ok(())
}

#[test]
fn within_an_epoch_the_batches_must_be_cut_alike() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    let mut run = plain()?;
    let epoch = run.next_epoch()?.expect("an epoch");
    let which = epoch.shuffled(SAMPLES, SIZE).next().expect("a batch");
    run.step(&loss(&run, &which)?)?;
    run.save(&path)?;
    let rows = [
        (plain()?.length(EPOCHS, BATCHES + 1)?, false),
        (plain()?.accumulate(2)?, false),
        (plain()?.turns(2)?, false),
        (plain()?.length(EPOCHS + 3, BATCHES)?, true),
    ];
    for (mut other, fits) in rows {
        let resumed = other.resume_from(&path);
        assert_eq!(resumed.is_ok(), fits, "{resumed:?}");
        let done = other.next_epoch()?.expect("an epoch").done;
        assert_eq!(done, usize::from(fits));
    }
    Ok(())
}

#[test]
fn what_fails_in_between_leaves_the_run_to_go_on() -> Result {
    let mut whole = plain()?;
    drive(&mut whole)?;
    let mut run = plain()?;
    for at in 0.. {
        let Some(epoch) = run.next_epoch()? else { break };
        let mut batches = epoch.shuffled(SAMPLES, SIZE);
        // A panic in the user's code after some batches, again and again.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let batches =
                if at % 2 == 0 { batches.by_ref().take(2) } else { batches.by_ref().take(9) };
            for which in batches {
                let loss = loss(&run, &which).expect("a loss");
                run.step(&loss).expect("a step");
            }
            assert!(at % 2 == 1, "the user's");
        }));
        if caught.is_ok() {
            run.epoch_end([])?;
        }
    }
    assert_same(&weights(&run), &weights(&whole), "after panics");
    Ok(())
}

#[test]
fn the_run_ends_with_a_checkpoint_whatever_is_due() -> Result {
    let folder = tempfile::tempdir()?;
    let manager = || Manager::new(folder.path())?.keep_last(1)?.save_every_epochs(3);
    let mut run = plain()?.checkpoints(manager()?);
    drive(&mut run)?;
    let mut later = plain()?.checkpoints(manager()?);
    later.resume()?;
    assert_eq!(later.elapsed().epoch, EPOCHS);
    assert_same(&weights(&later), &weights(&run), "the last epoch");
    Ok(())
}

#[test]
fn a_run_that_was_stopped_early_goes_on_with_more_patience() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    let early = || EarlyStop::new("m", Goal::Lowest);
    let mut run = plain()?.stop_early(early());
    for _ in 0..2 {
        let epoch = run.next_epoch()?.expect("an epoch");
        drive_epoch(&mut run, &epoch)?;
        run.epoch_end([("m", 1.0)])?;
    }
    run.save(&path)?;
    for (early, goes_on) in
        [(Some(early()), false), (Some(early().patience(2)?), true), (None, true)]
    {
        let mut later = plain()?;
        if let Some(early) = early {
            later = later.stop_early(early);
        }
        later.resume_from(&path)?;
        assert_eq!(later.stopped().is_none(), goes_on);
        assert_eq!(later.next_epoch()?.is_some(), goes_on);
    }
    Ok(())
}
