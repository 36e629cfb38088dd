//! A table for each task.

use super::groups::{Group, Reached, Task};
use crate::common::mean::Mean;

const HEADER: [&str; 14] = [
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
];

/// The tables, each with its heading and the sentences that it needs.
pub(super) fn tables(tasks: &[Task<'_>]) -> String {
    tasks.iter().map(table).collect::<Vec<_>>().join("\n")
}

fn table(task: &Task<'_>) -> String {
    let mut header: Vec<&str> = HEADER.to_vec();
    header.push("beside all layers for as long");
    let mut text = format!("## {}\n\n{}", escaped(task.name), row(header.iter().copied()));
    text += &row(header.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" }));
    let whole = task.baseline().last().map(|group| group.mean(|found| found.seconds).mean);
    let target = task.target();
    for group in &task.groups {
        text += &row(cells(task, group, whole, target).iter().map(String::as_str));
    }
    if let Some(target) = target {
        text += &format!("\nThe target is a validation accuracy of {}.\n", percent(target));
    }
    text
}

fn cells(
    task: &Task<'_>,
    group: &Group<'_>,
    whole: Option<f64>,
    target: Option<f64>,
) -> Vec<String> {
    let seconds = group.mean(|found| found.seconds).mean;
    let megabytes = |bytes: f64| format!("{:.1}", bytes / 1e6);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_string());
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
        or_dash(whole.map(|whole| format!("{:.2}", seconds / whole))),
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
        Some(error) if ahead.mean > error => "**wins**",
        Some(error) if ahead.mean < -error => "loses",
        Some(_) => "even",
    };
    let error = ahead.error.map(|error| format!(" ± {:.1}", 100.0 * error)).unwrap_or_default();
    format!("{:+.1}{error}, {who}", 100.0 * ahead.mean)
}

fn points(mean: &Mean) -> String {
    match mean.error {
        Some(error) => format!("{:.1} ± {:.1} %", 100.0 * mean.mean, 100.0 * error),
        None => percent(mean.mean),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn row<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// A text that ends no cell and begins no markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if ['|', '<', '*', '_', '`', '[', '\\'].contains(&c) {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() { ' ' } else { c });
    }
    escaped
}
