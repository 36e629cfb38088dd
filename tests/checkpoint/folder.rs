//! Two runs and one folder, progress that goes back, and deltas among a manager's files.

use std::path::Path;

use freeze_core::checkpoint::{Checkpoint, Manager, verify};
use freeze_core::{Elapsed, Freezer, Result};

use crate::craft::Parts;
use crate::rig::{Kind, Net, Run, When, tensors};

fn net(seed: u64) -> Result<Freezer<Net>> {
    Freezer::new(Net::new(3, seed)?)
}

fn save(
    manager: &Manager,
    net: &mut Freezer<Net>,
    progress: Elapsed,
) -> Result<std::path::PathBuf> {
    manager.save(Checkpoint::of(net).progress(progress))
}

fn epochs(manager: &Manager) -> Result<Vec<usize>> {
    manager.checkpoints()?.iter().map(|path| Ok(verify(path)?.epoch)).collect()
}

fn assert_says<T>(result: Result<T>, says: &str) {
    let error = result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains(says), "`{says}` is not in: {error}");
}

/// A folder in which another run has got to its fifth epoch.
fn used() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir().expect("a folder");
    let (manager, mut old) = (Manager::new(dir.path())?, net(1)?);
    for epoch in 1..=5 {
        save(&manager, &mut old, Elapsed::new(epoch, 5))?;
    }
    Ok(dir)
}

#[test]
fn another_run_is_neither_mixed_up_with_nor_written_over() -> Result<()> {
    for epoch in [1, 4, 5] {
        let dir = used()?;
        let manager = Manager::new(dir.path())?.keep_last(1)?;
        let refused = save(&manager, &mut net(2)?, Elapsed::new(epoch, 9));
        assert_says(refused, "has epoch 5, step 0 of an earlier run; resume that run");
        assert_eq!(epochs(&manager)?, [1, 2, 3, 4, 5], "nothing was written or removed");
    }
    // Told so, the old run's later epochs go, and what was saved is what is resumed.
    let dir = used()?;
    let manager = Manager::new(dir.path())?.keep_last(1)?.replace_later();
    let mut new = net(2)?;
    let path = save(&manager, &mut new, Elapsed::new(1, 9))?;
    assert!(path.exists());
    assert_eq!(epochs(&manager)?, [1]);
    let mut resumed = net(3)?;
    manager.resume(Checkpoint::of(&mut resumed))?.expect("a checkpoint");
    assert_eq!(tensors(resumed.whole())?, tensors(new.whole())?);
    Ok(())
}

/// Later files that could not be resumed stay out of the way.
#[test]
fn what_was_just_saved_is_never_removed() -> Result<()> {
    let dir = used()?;
    let manager = Manager::new(dir.path())?.keep_last(1)?;
    for path in &manager.checkpoints()?[2..] {
        std::fs::write(path, b"damaged").expect("a file");
    }
    let mut run = net(2)?;
    let at = manager.resume(Checkpoint::of(&mut run))?.expect("a checkpoint");
    assert_eq!(at.progress.epoch, 2);
    for epoch in [3, 4, 5] {
        let path = save(&manager, &mut run, Elapsed::new(epoch, 5))?;
        assert_eq!(manager.latest()?.path.as_ref(), Some(&path));
    }
    assert_eq!(epochs(&manager)?, [5]);
    // Nothing whole is there to resume: the run begins anew, beside what is damaged.
    let dir = used()?;
    let manager = Manager::new(dir.path())?.keep_last(1)?;
    for path in &manager.checkpoints()? {
        std::fs::write(path, b"damaged").expect("a file");
    }
    assert!(manager.resume(Checkpoint::of(&mut run))?.is_none());
    let path = save(&manager, &mut run, Elapsed::new(1, 5))?;
    assert_eq!(manager.latest()?.path, Some(path));
    Ok(())
}

/// What is whole, and cannot be read here, is neither passed over nor replaced.
#[test]
fn a_run_does_not_begin_anew_beside_what_is_whole() -> Result<()> {
    for (format, says) in [("99", "format 99"), ("1", "format 1")] {
        let dir = used()?;
        let manager = Manager::new(dir.path())?;
        let last = manager.checkpoints()?.pop().expect("a checkpoint");
        let mut parts = Parts::of(&std::fs::read(&last).expect("a file"));
        parts.set("freeze.format", format.to_string());
        std::fs::write(&last, parts.to_bytes()).expect("a file");
        let mut run = net(2)?;
        let before = tensors(run.whole())?;
        assert_says(manager.resume(Checkpoint::of(&mut run)), says);
        assert_eq!(tensors(run.whole())?, before);
    }
    // What cannot be read at all: passed over if another is whole.
    let dir = tempfile::tempdir().expect("a folder");
    let (manager, mut run) = (Manager::new(dir.path())?, net(2)?);
    let path = dir.path().join("epoch-000002-step-0000000000.safetensors");
    std::fs::create_dir(path).expect("a folder");
    assert_says(manager.resume(Checkpoint::of(&mut run)), "cannot read");
    save(&manager.clone().replace_later(), &mut run, Elapsed::new(1, 9))?;
    Ok(())
}

#[test]
fn progress_that_goes_back_is_refused() -> Result<()> {
    let at = |epoch, step| Elapsed::new(epoch, 9).at_step(step, 90);
    let rows = [
        (at(3, 30), at(3, 30), None),
        (at(3, 30), at(3, 31), None),
        (at(0, 7), Elapsed::new(1, 9), None),
        (at(3, 30), at(2, 30), Some("the run was at epoch 3, step 30 already")),
        (at(3, 30), at(3, 29), Some("the run was at epoch 3, step 30 already")),
        // A step within the epoch for one over the whole run.
        (at(3, 30), at(4, 1), Some("count epochs and steps over the whole run")),
        (at(usize::MAX, usize::MAX), at(0, 1), Some("the run was at epoch 18446744073709551615")),
    ];
    for (first, second, says) in rows {
        let dir = tempfile::tempdir().expect("a folder");
        let (manager, mut net) = (Manager::new(dir.path())?, net(1)?);
        save(&manager, &mut net, first)?;
        let saved = save(&manager.clone(), &mut net, second);
        match says {
            None => drop(saved?),
            Some(says) => assert_says(saved, says),
        }
        save(&manager.clone().replace_later(), &mut net, second)?;
        let latest = manager.latest()?.path.expect("a checkpoint");
        assert_eq!(verify(latest)?, second);
        // Back where a file says that the run was.
        let resumed = manager.resume(Checkpoint::of(&mut net))?.expect("a checkpoint");
        save(&manager, &mut net, resumed.progress)?;
    }
    Ok(())
}

fn delta(run: &mut Freezer<Net>, path: &Path, base: &Path) -> Result<()> {
    Checkpoint::of(run).progress(Elapsed::new(9, 9)).save_delta(path, base)
}

#[test]
fn the_base_of_a_delta_stays_as_long_as_the_delta() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let (manager, mut run) = (Manager::new(dir.path())?.keep_last(1)?, net(1)?);
    let base = save(&manager, &mut run, Elapsed::new(1, 9))?;
    let small = dir.path().join("small");
    delta(&mut run, &small, &base)?;
    for epoch in 2..5 {
        save(&manager, &mut run, Elapsed::new(epoch, 9))?;
    }
    assert_eq!(epochs(&manager)?, [1, 4]);
    let mut other = net(2)?;
    Checkpoint::of(&mut other).resume_delta(&small, &base)?;
    assert_eq!(tensors(other.whole())?, tensors(run.whole())?);
    // Nor is it written over, or removed with what was given up.
    let again = Manager::new(dir.path())?.replace_later();
    for epoch in [0, 1] {
        let saved = save(&again, &mut run, Elapsed::new(epoch, 9));
        assert_says(saved, "which would be gone, is the base of a delta");
    }
    assert_eq!(epochs(&manager)?, [1, 4]);
    std::fs::remove_file(&small).expect("the delta");
    save(&manager, &mut run, Elapsed::new(5, 9))?;
    assert_eq!(epochs(&manager)?, [5]);
    Ok(())
}

#[test]
fn a_delta_under_a_managers_name_is_not_what_a_run_goes_on_from() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let (manager, mut run) = (Manager::new(dir.path())?, net(1)?);
    let base = save(&manager, &mut run, Elapsed::new(1, 9))?;
    delta(&mut run, &dir.path().join("epoch-000009-step-0000000000.safetensors"), &base)?;
    let latest = manager.latest()?;
    assert_eq!(latest.path, Some(base));
    assert!(latest.skipped[0].1.to_string().contains("resume it with its base by `resume_delta`"));
    let resumed = manager.resume(Checkpoint::of(&mut run))?;
    assert_eq!(resumed.map(|resumed| resumed.progress.epoch), Some(1));
    Ok(())
}

#[test]
fn a_delta_never_takes_its_bases_place() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut run = Run::of_width(3, Kind::AdamW, When::LinearByEpoch, 1)?;
    let base = dir.path().join("base");
    run.save(&base)?;
    let bytes = std::fs::read(&base).expect("the base");
    std::fs::create_dir(dir.path().join("sub")).expect("a folder");
    let spelled = dir.path().join("sub/../base");
    let mut same = vec![(base.clone(), base.clone()), (spelled.clone(), base.clone())];
    same.push((base.clone(), spelled));
    let hard = dir.path().join("hard");
    std::fs::hard_link(&base, &hard).expect("a link");
    same.extend([(hard.clone(), base.clone()), (base.clone(), hard)]);
    #[cfg(unix)]
    {
        let soft = dir.path().join("soft");
        std::os::unix::fs::symlink(&base, &soft).expect("a link");
        same.extend([(soft.clone(), base.clone()), (base.clone(), soft)]);
    }
    for (path, base) in &same {
        assert_says(
            run.with_checkpoint(|c| c.save_delta(path, base)),
            "it is the base itself, which would be gone; save the delta to another file",
        );
        assert_eq!(std::fs::read(base).expect("the base"), bytes);
    }
    // A copy is another file.
    let copy = dir.path().join("copy");
    std::fs::copy(&base, &copy).expect("a copy");
    run.with_checkpoint(|c| c.save_delta(&copy, &base))
}
