//! Tables of the runs side by side.

use std::time::Duration;

use comfy_table::Table;

use crate::common::mean::Mean;
use crate::common::table::table;
use crate::contest::Contest;
use crate::record::{Epoch, Run};

/// A row of the totals: its name, and its value for an epoch.
type Row<T> = (&'static str, fn(&Epoch) -> T);

/// One row per epoch: what was frozen during it, and its cost.
pub(crate) fn epochs(all: &Run, progressive: &Run) -> Table {
    let mut table = table([
        "epoch",
        "layers\nfrozen",
        "parameters\ntrained",
        "optimizer\nbytes",
        "accuracy\nall",
        "accuracy\nfreezing",
        "seconds\nall",
        "seconds\nfreezing",
    ]);
    for (at, (all, progressive)) in all.epochs.iter().zip(&progressive.epochs).enumerate() {
        table.add_row([
            (at + 1).to_string(),
            format!("{} of {}", progressive.depth, progressive.leaves),
            grouped(progressive.trained_parameters),
            grouped(progressive.optimizer_bytes),
            percent(all.accuracy),
            percent(progressive.accuracy),
            seconds(all.training),
            seconds(progressive.training),
        ]);
    }
    table
}

/// The totals of both runs.
pub(crate) fn totals(all: &Run, progressive: &Run) -> Table {
    let mut table = table(["", all.name.as_str(), progressive.name.as_str(), "change"]);
    let accuracy = |run: &Run| run.epochs.last().map_or(0.0, |epoch| epoch.accuracy);
    let (a, b) = (accuracy(all), accuracy(progressive));
    let change = format!("{:+.1} points", 100.0 * (b - a));
    table.add_row(["test accuracy".into(), percent(a), percent(b), change]);

    let times: [Row<Duration>; 4] = [
        ("training time", |epoch| epoch.training),
        ("  forward", |epoch| epoch.forward),
        ("  backward", |epoch| epoch.backward),
        ("  optimizer", |epoch| epoch.optimizer),
    ];
    for (name, time) in times {
        let (a, b) = (all.total(time), progressive.total(time));
        let change = relative(a.as_secs_f64(), b.as_secs_f64());
        table.add_row([name.into(), seconds(a) + " s", seconds(b) + " s", change]);
    }

    let counts: [Row<usize>; 2] = [
        ("parameters trained, last epoch", |epoch| epoch.trained_parameters),
        ("optimizer bytes, last epoch", |epoch| epoch.optimizer_bytes),
    ];
    for (name, count) in counts {
        let last = |run: &Run| run.epochs.last().map_or(0, count);
        let (a, b) = (last(all), last(progressive));
        table.add_row([name.into(), grouped(a), grouped(b), relative(a as f64, b as f64)]);
    }
    table
}

/// The results of all runs, as means over the seeds with their standard errors.
pub(crate) fn contests(contests: &[Contest]) -> Table {
    let seeds = format!("mean of {} seeds", contests.len());
    let mut table = table([seeds.as_str(), "epochs", "seconds", "share of\nthe time", "accuracy"]);
    let mut row = |run: &dyn Fn(&Contest) -> &Run| {
        let name = run(&contests[0]);
        let of = |value: &dyn Fn(&Contest) -> f64| Mean::of(contests.iter().map(value));
        let spent = |contest: &Contest| run(contest).result().0;
        let share = of(&|contest| spent(contest) / contest.all.result().0).mean;
        let accuracy = of(&|contest| run(contest).result().1);
        let error = accuracy.error.map(|error| format!(" ± {:.1}", 100.0 * error));
        table.add_row([
            name.name.split(',').next().unwrap_or_default().to_string(),
            name.epochs.len().to_string(),
            format!("{:.2}", of(&spent).mean),
            format!("{share:.2}"),
            format!("{:.1}{} %", 100.0 * accuracy.mean, error.unwrap_or_default()),
        ]);
    };
    for at in 0..contests[0].shorter.len() {
        row(&|contest| &contest.shorter[at]);
    }
    row(&|contest| &contest.all);
    row(&|contest| &contest.freezing);
    table
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

fn relative(from: f64, to: f64) -> String {
    if from == 0.0 { String::new() } else { format!("{:+.0} %", 100.0 * (to / from - 1.0)) }
}

/// 1234567 as `1 234 567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
