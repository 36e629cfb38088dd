//! Settings that change while a run is under way: it goes on as one that is saved, and resumed with the new ones.

use freeze_core::checkpoint::{Goal, Manager};
use freeze_core::optim::{AdamW, GradClip};
use freeze_core::train::Stopped;
use freeze_core::{EarlyStop, Epoch, LayerFreezing, Result, Training};

use crate::rig::*;

type Change = fn(Training<Net>) -> Result<Training<Net>>;

/// What is set before, what after, and whether it changes within an epoch, too.
const ROWS: [(&str, Change, Change, bool); 7] = [
    ("longer", Ok, |run| run.length(4, BATCHES), false),
    ("less to a step", |run| run.accumulate(2), |run| run.accumulate(1), false),
    ("more to a step", Ok, |run| run.accumulate(3), false),
    ("no clipping", |run| run.clip(NORM), |run| run.clip(GradClip::None), true),
    ("clipping", Ok, |run| run.clip(NORM), true),
    ("another bound", |run| run.clip(NORM), |run| run.clip(GradClip::Norm(0.2)), true),
    ("clipping of values", |run| run.clip(NORM), |run| run.clip(GradClip::Value(0.01)), true),
];

const NORM: GradClip = GradClip::Norm(0.02);

fn two_epochs() -> Result<Training<Net>> {
    Ok(plain()?.length(2, BATCHES)?.policy(LayerFreezing::new(0.1, 1.0)?.every_steps(1)?))
}

#[test]
fn a_run_goes_on_as_if_it_had_been_resumed() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    for (what, before, after, within) in ROWS {
        for more in if within { 0..3 } else { 0..1 } {
            let mut run = before(two_epochs()?)?;
            let epoch = run.next_epoch()?.expect("an epoch");
            drive_epoch(&mut run, &epoch)?;
            run.epoch_end([])?;
            if more > 0 {
                let epoch = run.next_epoch()?.expect("an epoch");
                for which in epoch.shuffled(SAMPLES, SIZE).take(more) {
                    run.step(&loss(&run, &which)?)?;
                }
            }
            run.save(&path)?;
            let mut run = after(run)?;
            let mut resumed = after(two_epochs()?)?;
            resumed.resume_from(&path)?;
            let mut as_it_was = before(two_epochs()?)?;
            as_it_was.resume_from(&path)?;
            for run in [&mut run, &mut resumed, &mut as_it_was] {
                drive(run)?;
            }
            let at = format!("{what}, {more} batches later");
            assert_same(&weights(&run), &weights(&resumed), &at);
            assert_eq!(run.elapsed(), resumed.elapsed(), "{at}");
            assert_eq!(run.history(), resumed.history(), "{at}");
            assert_ne!(weights(&run), weights(&as_it_was), "{at}: the setting changes something");
        }
    }
    Ok(())
}

#[test]
fn a_run_is_made_longer_after_its_end() -> Result<()> {
    let mut run = two_epochs()?;
    drive(&mut run)?;
    assert_eq!(run.freezer().plan().frozen_leaves(), 4);
    let mut run = run.length(4, BATCHES)?;
    drive(&mut run)?;
    assert_eq!((run.elapsed().epoch, run.elapsed().step), (4, 4 * BATCHES));
    Ok(())
}

#[test]
fn lengths_change_between_epochs() -> Result<()> {
    let changes: [Change; 3] =
        [|run| run.length(9, 9), |run| run.accumulate(2), |run| run.turns(2)];
    for change in changes {
        let mut run = plain()?;
        run.next_epoch()?;
        run.step(&loss(&run, &[0, 1])?)?;
        let error = change(run).expect_err("within an epoch").to_string();
        assert!(error.contains("an epoch is under way"), "{error}");
    }
    Ok(())
}

/// The order of an epoch that is under way stays, also for a run that is resumed within it.
#[test]
fn a_seed_is_of_the_next_epoch() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let order = |epoch: Epoch| -> Vec<Vec<u32>> { epoch.shuffled(SAMPLES, SIZE).collect() };
    let mut run = plain()?;
    let epoch = run.next_epoch()?.expect("an epoch");
    run.step(&loss(&run, &[0, 1])?)?;
    let expected = order(epoch)[1..].to_vec();
    let mut run = run.seed(9);
    run.save(&path)?;
    let mut resumed = plain()?;
    resumed.resume_from(&path)?;
    let mut of_nine = plain()?.seed(9);
    let epoch = of_nine.next_epoch()?.expect("an epoch");
    drive_epoch(&mut of_nine, &epoch)?;
    of_nine.epoch_end([])?;
    let second = order(of_nine.next_epoch()?.expect("an epoch"));
    for mut run in [run, resumed] {
        assert_eq!(order(run.next_epoch()?.expect("the epoch")), expected);
        let rest = run.next_epoch()?.expect("the epoch");
        drive_epoch(&mut run, &rest)?;
        run.epoch_end([])?;
        assert_eq!(order(run.next_epoch()?.expect("an epoch")), second);
    }
    Ok(())
}

/// A refusal for want of an optimizer, which has shown the first one how the run clips.
#[test]
fn an_optimizer_that_comes_later_shares_the_clipping() -> Result<()> {
    let optimizer = |vars| AdamW::with_names(vars, params());
    let half = || Training::new(Net::new(1)?)?.optimizer_for("body.**", optimizer)?.clip(NORM);
    let mut run = half()?.length(1, BATCHES)?;
    assert!(run.next_epoch().is_err(), "what is not in the body has no optimizer");
    let mut run = run.optimizer(optimizer)?;
    let mut whole = half()?.optimizer(optimizer)?.length(1, BATCHES)?;
    drive(&mut run)?;
    drive(&mut whole)?;
    assert_same(&weights(&run), &weights(&whole), "after a refusal");
    Ok(())
}

#[test]
fn patience_is_of_one_metric() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut run = plain()?.stop_early(EarlyStop::new("accuracy", Goal::Highest));
    for accuracy in [0.5, 0.5] {
        let epoch = run.next_epoch()?.expect("an epoch");
        drive_epoch(&mut run, &epoch)?;
        run.epoch_end([("accuracy", accuracy)])?;
    }
    assert_eq!(run.stopped(), Some(Stopped::Early));
    run.save(&path)?;
    let early = EarlyStop::new("loss", Goal::Lowest);
    let mut run = plain()?.stop_early(early);
    run.resume_from(&path)?;
    // Each better than the one before, and none below the best accuracy.
    for loss in [2.0, 1.0] {
        assert_eq!(run.stopped(), None);
        let epoch = run.next_epoch()?.expect("an epoch");
        drive_epoch(&mut run, &epoch)?;
        run.epoch_end([("loss", loss)])?;
    }
    assert_eq!(run.elapsed().epoch, EPOCHS);
    Ok(())
}

/// Before any work, and not at the first save.
#[test]
fn going_back_behind_the_managers_checkpoints_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = || Manager::new(folder.path());
    let mut first = plain()?.checkpoints(manager()?);
    drive(&mut first)?;
    let second = manager()?.checkpoints()?.swap_remove(1);
    // Of another run, and of the same one.
    let mut runs = [plain()?.checkpoints(manager()?), first];
    for run in &mut runs {
        let before = weights(run);
        let error = run.resume_from(&second).expect_err("later ones are there").to_string();
        assert!(error.contains("say `replace_later` to go back"), "{error}");
        assert_same(&weights(run), &before, "nothing has changed");
    }
    let mut back = plain()?.checkpoints(manager()?.replace_later());
    back.resume_from(&second)?;
    drive(&mut back)?;
    assert_same(&weights(&back), &weights(&runs[1]), "the same run again");
    // A manager that comes when the run has begun.
    let mut late = plain()?;
    late.resume_from(&second)?;
    let mut late = late.checkpoints(manager()?);
    let error = late.next_epoch().expect_err("later ones are there").to_string();
    assert!(error.contains("say `replace_later` to go back"), "{error}");
    let mut late = late.checkpoints(Manager::new(folder.path().join("another"))?);
    drive(&mut late)?;
    // From the last one it goes on.
    let last = manager()?.checkpoints()?.pop().expect("a checkpoint");
    let mut longer = plain()?.length(EPOCHS + 1, BATCHES)?.checkpoints(manager()?);
    longer.resume_from(last)?;
    drive(&mut longer)?;
    assert_eq!(manager()?.checkpoints()?.len(), EPOCHS + 1);
    Ok(())
}

/// A manager of the same folder once more, within an epoch, after a refusal; the loop goes on where it was left.
#[test]
fn a_second_manager_within_an_epoch_goes_on_in_the_folder() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut whole = plain()?;
    drive(&mut whole)?;
    let mut run = plain()?.checkpoints(Manager::new(folder.path())?);
    let epoch = run.next_epoch()?.expect("an epoch");
    drive_epoch(&mut run, &epoch)?;
    run.epoch_end([])?;
    let epoch = run.next_epoch()?.expect("an epoch");
    for which in epoch.shuffled(SAMPLES, SIZE).take(2) {
        run.step(&loss(&run, &which)?)?;
    }
    run.resume_from(folder.path().join("none")).expect_err("no such file");
    let manager = || Manager::new(folder.path())?.save_every_steps(1);
    let mut run = run.checkpoints(manager()?).checkpoints(manager()?);
    drive(&mut run)?;
    assert_same(&weights(&run), &weights(&whole), "with two managers");
    assert_eq!(manager()?.checkpoints()?.len(), 1 + EPOCHS * BATCHES - BATCHES - 2);
    let mut resumed = plain()?.checkpoints(manager()?);
    resumed.resume()?.expect("a checkpoint");
    assert!(resumed.next_epoch()?.is_none());
    assert_same(&weights(&resumed), &weights(&whole), "of the last");
    Ok(())
}
