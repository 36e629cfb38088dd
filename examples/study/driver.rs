//! All runs of a study that its CSV lacks, one after another, each in a process of its own.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use twox_hash::XxHash3_128;

use crate::common::Result;
use crate::plan::Planned;
use crate::results::Results;
use crate::row::{Cache, Found, Row};

/// How the runs are done.
pub(crate) struct How {
    /// What the process of a run is told beside its row.
    pub(crate) arguments: Vec<String>,
    /// Only rows of the task of this name.
    pub(crate) only: Option<String>,
    /// No run begins later than so long after the first.
    pub(crate) at_most: Option<Duration>,
    /// Where each run is written as a page.
    pub(crate) pages: Option<PathBuf>,
    /// Where caches that outlive a run are kept.
    pub(crate) kept: PathBuf,
}

/// Runs what is missing. A run that fails is told of, and the others go on.
///
/// # Errors
///
/// A run failed, or the CSV cannot be written.
pub(crate) fn drive(planned: &[Planned], results: &mut Results, how: &How) -> Result<()> {
    if let Some(pages) = &how.pages {
        std::fs::create_dir_all(pages).map_err(|error| format!("{}: {error}", pages.display()))?;
    }
    if let Some(task) = &how.only
        && !planned.iter().any(|planned| planned.row.task == *task)
    {
        let mut tasks: Vec<&str> = planned.iter().map(|planned| &*planned.row.task).collect();
        tasks.dedup();
        return Err(format!("--only {task}: there is {}", tasks.join(", ")).into());
    }
    let asked = |planned: &&Planned| how.only.as_ref().is_none_or(|task| planned.row.task == *task);
    let planned: Vec<&Planned> = planned.iter().filter(asked).collect();
    let (began, mut failed) = (Instant::now(), 0);
    for (at, Planned { row, place }) in planned.iter().enumerate() {
        if results.lines.iter().any(|(done, _)| done == row) {
            continue;
        }
        if how.at_most.is_some_and(|limit| began.elapsed() > limit) {
            let is_left =
                |planned: &&&Planned| !results.lines.iter().any(|(done, _)| *done == planned.row);
            let left = planned[at..].iter().filter(is_left).count();
            say(&format_args!("{left} of {} rows are left for later", planned.len()));
            break;
        }
        match kept(row, results, how).and_then(|kept| process(row, how, &kept)) {
            Ok(found) => {
                let told = told(&found);
                results.append((row.clone(), found))?;
                say(&format_args!("{} of {}: {row}: {told}", at + 1, planned.len()));
            }
            Err(why) => {
                let _ = writeln!(std::io::stderr(), "{place}: {row}: {why}");
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} rows failed, see above; the others are done").into()),
    }
}

/// Prints a line. Whether somebody still reads it is nothing to the runs.
fn say(line: &dyn Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Trains in a process of its own, whose peak of memory is that of the run, and which ends with this one.
fn process(row: &Row, how: &How, kept: &Path) -> Result<Found> {
    let page = how.pages.as_ref().map(|folder| page(folder, row)).transpose()?;
    let page = page.map(|page| format!("--page={}", page.display()));
    let mut child = Command::new(std::env::current_exe()?)
        .arg("row")
        .arg(serde_json::to_string(row)?)
        .args(&how.arguments)
        .arg(format!("--kept={}", kept.display()))
        .args(page)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Held open as long as this process lives: see `end_with_study`.
    let stdin = child.stdin.take();
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    drop(stdin);
    if !output.status.success() {
        let why = said.trim().trim_start_matches("error: ");
        return Err(format!("{}: {why}", output.status).into());
    }
    eprint!("{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// In the process of a row: ends it as soon as the study that holds the other end of its input has ended.
pub(crate) fn end_with_study() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

/// Where the runs of a row's sweep keep what their frozen front puts out. Before the first of them it is removed:
/// a run that did not end may have left a part there, with which the one that fills the cache is too short.
fn kept(row: &Row, results: &Results, how: &How) -> Result<PathBuf> {
    let sweep = row.sweep();
    let name = XxHash3_128::oneshot(serde_json::to_string(&sweep)?.as_bytes());
    let folder = how.kept.join(plain(&row.task)).join(format!("{name:032x}"));
    let is_first = results.lines.iter().all(|(done, _)| done.sweep() != sweep);
    if row.cache == Cache::Kept && is_first && folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(folder)
}

/// The file of a run's page: a name of bounded length, and what tells runs apart.
fn page(folder: &Path, row: &Row) -> Result<PathBuf> {
    const LONGEST: usize = 100;
    let Row { task, name, model, cache, epochs, seed, .. } = row;
    let mut readable = plain(&format!("{task} {name} {model} {cache} {epochs} {seed}"));
    readable.truncate(LONGEST);
    let all = XxHash3_128::oneshot(serde_json::to_string(row)?.as_bytes());
    Ok(folder.join(format!("{readable}-{all:032x}.html")))
}

/// A text as the name of a file.
fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    text.chars().map(plain).collect()
}

fn told(found: &Found) -> String {
    let Found { valid_accuracy, seconds, .. } = found;
    format!("validation accuracy {:.1} %, {seconds:.1} s", 100.0 * valid_accuracy)
}
