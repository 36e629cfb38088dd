//! A table for each task.

use super::cells::{escaped, header, megabytes, or_dash, percent, points, row};
use super::groups::{Group, Reached, Task};
use super::{bytes, sweep};
use crate::common::mean::Mean;

const HEADER: [&str; 15] = [
    "trained by",
    "cache",
    "epochs",
    "rate",
    "seeds",
    "validation",
    "test",
    "seconds",
    "share",
    "processor s",
    "to target, s",
    "peak MB",
    "state MB",
    "leaf-steps",
    "beside all layers for as long",
];

/// The tables, each with its heading and the sentences that it needs.
pub(super) fn tables(tasks: &[Task<'_>]) -> String {
    let text = |task: &Task<'_>| format!("## {}\n\n{}", escaped(task.name), of(task));
    tasks.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Models of several sizes are there for their bytes; otherwise accuracy and time count, and where outputs
/// were kept for later runs all of them together.
fn of(task: &Task<'_>) -> String {
    match bytes::table(task) {
        Some(table) => table,
        None => {
            table(task) + &sweep::table(task).map_or(String::new(), |all| "\n".to_string() + &all)
        }
    }
}

fn table(task: &Task<'_>) -> String {
    let mut text = header(&HEADER);
    let target = task.target();
    for group in &task.groups {
        text += &row(cells(task, group, target).iter().map(String::as_str));
    }
    if let Some(target) = target {
        text += &format!("\nThe target is a validation accuracy of {}.\n", percent(target));
    }
    text
}

fn cells(task: &Task<'_>, group: &Group<'_>, target: Option<f64>) -> Vec<String> {
    let seconds = group.mean(|found| found.seconds).mean;
    let peak = group.mean_of_known(|found| found.peak_bytes.map(|bytes| bytes as f64));
    let processor = group.mean_of_known(|found| found.processor_seconds);
    vec![
        escaped(&group.row.name),
        group.row.cache.to_string(),
        group.row.epochs.to_string(),
        group.row.rate.to_string(),
        group.runs().to_string(),
        points(&group.mean(|found| found.valid_accuracy)),
        or_dash(group.mean_of_known(|found| found.test_accuracy).map(|mean| points(&mean))),
        format!("{seconds:.1}"),
        or_dash(task.share(group).map(|share| format!("{share:.2}"))),
        or_dash(processor.map(|mean| format!("{:.1}", mean.mean))),
        or_dash(target.map(|target| reached(&group.reached(target), group.runs()))),
        or_dash(peak.map(|mean| megabytes(mean.mean))),
        megabytes(group.mean(|found| found.state_bytes as f64).mean),
        format!("{:.2}", group.mean(|found| found.leaf_steps).mean),
        match group.row.trains_all() {
            true => "–".to_string(),
            false => or_dash(task.ahead(group).map(|ahead| verdict(&ahead))),
        },
    ]
}

/// `1.2`, or `1.2 (2 of 3)` where not all runs came to it.
fn reached(found: &Reached, runs: usize) -> String {
    match found.seconds {
        None => "never".to_string(),
        Some(seconds) if found.runs == runs => format!("{seconds:.1}"),
        Some(seconds) => format!("{seconds:.1} ({} of {runs})", found.runs),
    }
}

/// Who is ahead by more than a standard error.
fn verdict(ahead: &Mean) -> String {
    let who = match ahead.error {
        None => "one seed",
        // Nothing that the figure would show.
        Some(_) if ahead.mean.abs() < 0.0005 => "even",
        Some(error) if ahead.mean > error => "**wins**",
        Some(error) if ahead.mean < -error => "loses",
        Some(_) => "even",
    };
    let error = ahead.error.map(|error| format!(" ± {:.1}", 100.0 * error)).unwrap_or_default();
    format!("{:+.1}{error}, {who}", 100.0 * ahead.mean)
}
