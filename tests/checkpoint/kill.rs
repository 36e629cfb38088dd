//! A process killed with SIGKILL while it saves in a loop.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use freeze_core::Result;
use freeze_core::checkpoint::Manager;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::child::{argument, command, count};
use crate::rig::{Kind, Run, When};

/// Wide enough that most of the time passes in writing.
const WIDTH: usize = 256;

fn run() -> Result<Run> {
    Run::of_width(WIDTH, Kind::AdamW, When::LinearByEpoch, 1)
}

fn half_written(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("the folder");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".partial")).count()
}

/// Kills until enough kills have left a half-written file, and each time finds the last completed
/// save, or the one that was about to be reported. `FREEZE_KILLS=50` for the full run.
#[test]
fn no_kill_loses_a_completed_save() -> Result<()> {
    let wanted = count("FREEZE_KILLS", 10);
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(std::process::id()));
    let dir = tempfile::tempdir().expect("a folder");
    let (mut kills, mut hits, mut resumed) = (0, 0, run()?);
    while hits < wanted {
        assert!(kills < 100 * wanted, "{hits} of {kills} kills left a half-written file");
        let mut child = command("kill::saves_until_it_is_killed", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let step = |line: std::io::Result<String>| {
            line.ok()?.split("saved ").nth(1)?.trim().parse::<usize>().ok()
        };
        // Once it saves, at any moment.
        let mut completed = lines.by_ref().find_map(step).expect("a first save");
        std::thread::sleep(Duration::from_micros(random.random_range(0..60_000)));
        child.kill().and_then(|()| child.wait()).expect("killed");
        completed = lines.filter_map(step).last().unwrap_or(completed);
        kills += 1;
        hits += half_written(dir.path());

        let manager = Manager::new(dir.path())?;
        let latest = manager.latest()?;
        assert!(latest.skipped.is_empty(), "{:?}", latest.skipped);
        let at = resumed.with_checkpoint(|c| manager.resume(c))?.expect("a checkpoint");
        assert_eq!(half_written(dir.path()), 0);
        let found = at.progress.step;
        assert!(found == completed || found == completed + 1, "{found} after {completed}");
    }
    println!("{kills} kills, {hits} half-written files, every latest checkpoint loaded");
    Ok(())
}

#[test]
#[ignore = "the process that is killed"]
fn saves_until_it_is_killed() -> Result<()> {
    let Some(folder) = argument() else { return Ok(()) };
    let manager = Manager::new(folder)?.keep_last(2)?;
    let mut run = run()?;
    let start = run.with_checkpoint(|c| manager.resume(c))?.map_or(0, |at| at.progress.step);
    for step in start + 1.. {
        run.with_checkpoint(|c| {
            manager.save(c.progress(freeze_core::Elapsed::new(0, 1).at_step(step, usize::MAX)))
        })?;
        println!("saved {step}");
        std::io::stdout().flush().expect("a parent that listens");
    }
    Ok(())
}
