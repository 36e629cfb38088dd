//! Runs with a cache that are killed, and two at a time over one folder: this test binary started once more.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use candle_nn::loss::cross_entropy;
use freeze_core::{ActivationCache, Result, Training};

use super::net::*;

const VAR: &str = "FREEZE_CACHE_CHILD";

/// The ignored test `name` of this file in a process of its own, with `argument`.
fn child(name: &str, argument: impl AsRef<OsStr>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    let name = format!("{}::{name}", module_path!().split_once("::").expect("a crate").1);
    command.args(["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(VAR, argument).stdout(Stdio::piped()).spawn().expect("a child")
}

/// What the parent said; `None` where the ignored tests are run by hand.
fn argument() -> Option<PathBuf> {
    std::env::var_os(VAR).map(PathBuf::from)
}

/// The numbers that a child prints behind `word`.
fn said(child: &mut Child, word: &'static str) -> impl Iterator<Item = u64> + use<> {
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    lines.filter_map(move |line| line.ok()?.split(word).nth(1)?.trim().parse().ok())
}

fn frozen(cache: Option<ActivationCache>) -> Result<Training<Net>> {
    let mut run = run()?;
    if let Some(cache) = cache {
        run = run.cache(cache);
    }
    run.freeze_front(3)?;
    Ok(run)
}

fn scratch(dir: &Path) -> ActivationCache {
    ActivationCache::new().memory(0).folder(dir.join("scratch"), 1 << 20)
}

fn kept(dir: &Path) -> ActivationCache {
    ActivationCache::new().memory(0).kept(dir.join("kept"), 1 << 20)
}

/// After each kill the next run finds no file of the one before, and what was kept is right.
#[test]
fn a_run_that_is_killed_leaves_nothing_but_what_it_kept() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let expected = course(&mut frozen(None)?, |_, _| Ok(()))?;
    // In the first batch, within the first epoch and behind it.
    for steps in [0, 3, 8] {
        let mut child = child("runs_until_it_is_killed", dir.path());
        let mut steps_done = said(&mut child, "step ");
        steps_done.nth(steps).expect("a step");
        child.kill().and_then(|()| child.wait()).expect("killed");
        let left = std::fs::read_dir(dir.path().join("scratch")).expect("a folder").count();
        assert_eq!(left, 0, "{steps} steps");
        for cache in [scratch(dir.path()), kept(dir.path())] {
            assert!(course(&mut frozen(Some(cache))?, |_, _| Ok(()))? == expected, "{steps} steps");
        }
        std::fs::remove_dir_all(dir.path().join("kept")).expect("removed");
    }
    Ok(())
}

#[test]
#[ignore = "the process that is killed"]
fn runs_until_it_is_killed() -> Result<()> {
    let Some(dir) = argument() else { return Ok(()) };
    let mut runs = [frozen(Some(scratch(&dir)))?, frozen(Some(kept(&dir)))?];
    let mut step = 0;
    loop {
        for run in &mut runs {
            let epoch = run.next_epoch()?;
            let Some(epoch) = epoch else { return Ok(()) };
            for which in epoch.shuffled(SAMPLES, SIZE) {
                let (keys, xs, ys) = batch(&which)?;
                let scores = run.forward(&keys, xs, &())?;
                run.step(&cross_entropy(&scores, &ys)?)?;
                println!("step {step}");
                std::io::stdout().flush().expect("a parent that listens");
                step += 1;
            }
            run.epoch_end([])?;
        }
    }
}

#[test]
fn two_processes_share_a_kept_folder() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let (losses, _) = course(&mut frozen(None)?, |_, _| Ok(()))?;
    let mut children = [(); 2].map(|()| child("runs_to_its_end", dir.path()));
    for child in &mut children {
        assert_eq!(said(child, "loss ").collect::<Vec<_>>(), losses);
        assert!(child.wait().expect("its end").success());
    }
    let mut run = frozen(Some(kept(dir.path())))?;
    assert_eq!(course(&mut run, |_, _| Ok(()))?.0, losses);
    let stats = run.activation_cache().expect("a cache").stats();
    assert_eq!((stats.misses, stats.hits), (0, 5 * SAMPLES as u64));
    Ok(())
}

#[test]
#[ignore = "one of two processes"]
fn runs_to_its_end() -> Result<()> {
    let Some(dir) = argument() else { return Ok(()) };
    for loss in course(&mut frozen(Some(kept(&dir)))?, |_, _| Ok(()))?.0 {
        println!("loss {loss}");
    }
    Ok(())
}
