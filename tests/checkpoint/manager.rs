//! The manager keeps what it is told to keep and finds the way past damaged files.

use std::fs;
use std::path::{Path, PathBuf};

use freeze_core::checkpoint::{Checkpoint, Goal, Manager};
use freeze_core::{Elapsed, Error, Freezer, Result};

use crate::rig::{EPOCHS, Kind, Net, PER_EPOCH, Run, STEPS, When};

fn names(paths: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    paths.iter().filter_map(name).collect()
}

fn run() -> Result<Run> {
    Run::of_width(3, Kind::AdamW, When::LinearByEpoch, 1)
}

/// Saves five epochs whose metric has these values.
fn five_epochs(manager: &Manager, values: [f64; 5]) -> Result<Run> {
    let mut run = run()?;
    for (i, value) in values.into_iter().enumerate() {
        run.history.record("score", value, Elapsed::new(i + 1, EPOCHS));
        run.with_checkpoint(|c| manager.save(c.progress(Elapsed::new(i + 1, EPOCHS))))?;
    }
    Ok(run)
}

#[test]
fn the_last_and_the_best_are_kept() -> Result<()> {
    let values = [0.5, f64::NAN, 0.9, 0.1, 0.9];
    let numbers = |kept: &[usize]| -> Vec<String> {
        kept.iter().map(|i| format!("epoch-{i:06}-step-0000000000.safetensors")).collect()
    };
    for (keep, goal, kept, best) in [
        (None, None, vec![1, 2, 3, 4, 5], None),
        (Some(1), None, vec![5], None),
        (Some(2), None, vec![4, 5], None),
        (Some(9), None, vec![1, 2, 3, 4, 5], None),
        (Some(1), Some(Goal::Highest), vec![3, 5], Some(3)),
        (Some(1), Some(Goal::Lowest), vec![4, 5], Some(4)),
        (Some(3), Some(Goal::Lowest), vec![3, 4, 5], Some(4)),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut manager = Manager::new(dir.path().join("a/b"))?;
        if let Some(keep) = keep {
            manager = manager.keep_last(keep)?;
        }
        if let Some(goal) = goal {
            manager = manager.keep_best("score", goal);
        }
        five_epochs(&manager, values)?;
        assert_eq!(names(&manager.checkpoints()?), numbers(&kept), "{keep:?} {goal:?}");
        let found: Vec<PathBuf> = manager.best()?.into_iter().collect();
        assert_eq!(names(&found), numbers(&best.into_iter().collect::<Vec<_>>()));
    }
    Ok(())
}

/// What was saved before the first validation is saved, and never the best.
#[test]
fn a_checkpoint_without_the_metric_is_no_candidate() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let manager = Manager::new(dir.path())?.keep_last(1)?.keep_best("score", Goal::Lowest);
    let mut run = run()?;
    let mut save = |epoch, score: Option<f64>| {
        let at = Elapsed::new(epoch, EPOCHS);
        score.into_iter().for_each(|score| run.history.record("score", score, at));
        run.with_checkpoint(|c| manager.save(c.progress(at)))
    };
    let mut kept = Vec::new();
    for (epoch, score) in [(1, None), (2, None), (3, Some(0.5)), (4, Some(0.7)), (5, Some(0.4))] {
        save(epoch, score)?;
        let names = |paths: Vec<PathBuf>| -> Vec<usize> {
            let names = names(&paths).into_iter();
            names.filter_map(|name| name.get(6..12)?.parse().ok()).collect()
        };
        kept.push((names(manager.checkpoints()?), names(manager.best()?.into_iter().collect())));
    }
    let expected = [(vec![1], vec![]), (vec![2], vec![]), (vec![3], vec![3])];
    let expected = expected.into_iter().chain([(vec![3, 4], vec![3]), (vec![5], vec![5])]);
    assert_eq!(kept, expected.collect::<Vec<_>>());
    Ok(())
}

#[test]
fn it_saves_when_it_is_time() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let by_epoch = Manager::new(dir.path().join("epochs"))?.save_every_epochs(4)?;
    let by_step = Manager::new(dir.path().join("steps"))?.save_every_steps(5)?;
    let mut run = run()?;
    run.train(STEPS, |run| {
        run.with_checkpoint(|c| by_step.save_if_due(c))?;
        if run.step.is_multiple_of(PER_EPOCH) {
            run.with_checkpoint(|c| by_epoch.save_if_due(c))?;
        }
        Ok(())
    })?;
    let steps = |manager: &Manager| -> Result<Vec<usize>> {
        let paths = manager.checkpoints()?;
        paths.iter().map(|path| Ok(freeze_core::checkpoint::verify(path)?.step)).collect()
    };
    assert_eq!(steps(&by_epoch)?, [12]);
    assert_eq!(steps(&by_step)?, [5, 10, 15]);
    Ok(())
}

#[test]
fn a_damaged_file_is_skipped_and_named() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let manager = Manager::new(dir.path())?;
    let none = manager.latest()?;
    assert!(none.path.is_none() && none.skipped.is_empty());
    assert!(run()?.with_checkpoint(|c| manager.resume(c))?.is_none());

    five_epochs(&manager, [0.0; 5])?;
    let paths = manager.checkpoints()?;
    let damage = |path: &Path, change: fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).expect("a file");
        change(&mut bytes);
        fs::write(path, bytes).expect("a damaged file");
    };
    damage(&paths[4], |bytes| bytes.truncate(bytes.len() / 2));
    // One bit of one weight.
    damage(&paths[3], |bytes| *bytes.last_mut().expect("bytes") ^= 1);
    fs::write(&paths[2], b"").expect("an empty file");
    fs::write(dir.path().join("notes.txt"), b"mine").expect("a file of somebody else's");
    let latest = manager.latest()?;
    assert_eq!(latest.path.as_ref(), Some(&paths[1]));
    let skipped: Vec<_> = latest.skipped.iter().map(|(path, _)| path).collect();
    assert_eq!(skipped, [&paths[4], &paths[3], &paths[2]]);
    assert!(latest.skipped.iter().all(|(_, error)| matches!(error, Error::Damaged { .. })));
    let resumed = run()?.with_checkpoint(|c| manager.resume(c))?;
    assert_eq!(resumed.map(|resumed| resumed.progress.epoch), Some(2));
    Ok(())
}

#[test]
fn leftovers_of_a_killed_process_go_and_nothing_else() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let left = dir.path().join(".epoch-000001-step-0000000000.safetensors.Ab12.partial");
    let mine = dir.path().join("mine.partial");
    let mut net = Freezer::new(Net::new(3, 1)?)?;
    for saves in [false, true] {
        fs::write(&left, b"half").and_then(|()| fs::write(&mine, b"mine")).expect("files");
        let manager = Manager::new(dir.path())?;
        manager.latest()?;
        assert!(left.exists(), "of a process that may still write it");
        match saves {
            true => drop(manager.save(Checkpoint::of(&mut net).progress(Elapsed::new(1, 2)))?),
            false => assert!(manager.resume(Checkpoint::of(&mut net))?.is_none()),
        }
        assert!(!left.exists() && mine.exists());
    }
    Ok(())
}

#[test]
fn what_cannot_be_meant_is_refused() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let manager = || Manager::new(dir.path());
    let says = |error: Error, text: &str| assert!(error.to_string().contains(text), "{error}");
    says(manager()?.keep_last(0).expect_err("0"), "`keep_last` is 0, expected at least 1");
    says(manager()?.save_every_steps(0).expect_err("0"), "`save_every_steps` is 0");
    says(manager()?.save_every_epochs(0).expect_err("0"), "`save_every_epochs` is 0");
    let best = manager()?.keep_best("accuracy", Goal::Highest);
    let mut net = Freezer::new(Net::new(3, 1)?)?;
    let error = best.save(Checkpoint::of(&mut net).progress(Elapsed::new(1, 2)));
    says(error.expect_err("no history"), "cannot save the best by `accuracy`: the history");
    let error = manager()?.save(Checkpoint::of(&mut net)).expect_err("no progress");
    says(error, "cannot save the run under a name of its own: it was given no progress");
    let error = manager()?.save_if_due(Checkpoint::of(&mut net)).expect_err("no progress");
    says(error, "add `.progress(..)`");
    let by_step = manager()?.save_every_steps(1)?;
    let error = by_step.save_if_due(Checkpoint::of(&mut net).progress(Elapsed::new(3, 5)));
    says(error.expect_err("no steps"), "its progress counts no steps; say them with");
    let due =
        by_step.save_if_due(Checkpoint::of(&mut net).progress(Elapsed::new(0, 5).at_step(0, 9)));
    assert!(due?.is_none());
    assert!(best.checkpoints()?.is_empty());
    let file = dir.path().join("file");
    fs::write(&file, b"").expect("a file");
    says(Manager::new(&file).expect_err("a file"), "cannot make the folder");
    Ok(())
}
