//! What all runs of a sweep took together, where the outputs of a frozen front were kept between them.

use super::cells::{escaped, header, or_dash, points, row};
use super::groups::{Group, Task};
use crate::row::{Cache, Row};

const HEADER: [&str; 10] = [
    "all runs of the sweep",
    "cache",
    "runs",
    "rates",
    "seconds of all",
    "share",
    "longest run, s",
    "best rate",
    "its validation",
    "its test",
];

const NOTE: &str = "\nThe share is that of all layers in as many runs. The run that fills a kept \
    cache counts too.\n";

/// Runs that differ by rate and seed alone.
struct Sweep<'a> {
    row: Row,
    rates: Vec<&'a Group<'a>>,
}

/// The table; `None` for a task that kept nothing between runs.
pub(super) fn table(task: &Task<'_>) -> Option<String> {
    let kept = task.groups.iter().any(|group| group.row.cache == Cache::Kept);
    kept.then(|| {
        let sweeps = sweeps(task);
        let rows = sweeps.iter().map(|sweep| {
            let plain = sweep.row.plain();
            let mut all = sweeps.iter().filter(|all| all.row.trains_all());
            let all = all.find(|all| all.row.is_comparable(&plain));
            row(sweep.cells(all).iter().map(String::as_str))
        });
        header(&HEADER) + &rows.collect::<String>() + NOTE
    })
}

fn sweeps<'a>(task: &'a Task<'_>) -> Vec<Sweep<'a>> {
    let mut sweeps: Vec<Sweep<'_>> = Vec::new();
    for group in &task.groups {
        let row = group.row.sweep();
        match sweeps.iter_mut().find(|sweep| sweep.row == row) {
            Some(sweep) => sweep.rates.push(group),
            None => sweeps.push(Sweep { row, rates: vec![group] }),
        }
    }
    sweeps
}

impl Sweep<'_> {
    fn runs(&self) -> usize {
        self.rates.iter().map(|group| group.runs()).sum()
    }

    fn seconds(&self) -> f64 {
        self.rates.iter().map(|group| group.total(|found| found.seconds)).sum()
    }

    fn cells(&self, all: Option<&Self>) -> Vec<String> {
        let comparable = all.filter(|all| all.runs() == self.runs());
        let longest = self.rates.iter().map(|group| group.most(|found| found.seconds));
        let valid = |group: &Group<'_>| group.mean(|found| found.valid_accuracy);
        let best = self.rates.iter().max_by(|a, b| valid(a).mean.total_cmp(&valid(b).mean));
        let of_best = |text: &dyn Fn(&Group<'_>) -> Option<String>| {
            or_dash(best.and_then(|group| text(group)))
        };
        vec![
            escaped(&self.row.name),
            self.row.cache.to_string(),
            self.runs().to_string(),
            self.rates.len().to_string(),
            format!("{:.1}", self.seconds()),
            or_dash(comparable.map(|all| format!("{:.2}", self.seconds() / all.seconds()))),
            format!("{:.1}", longest.fold(0.0, f64::max)),
            of_best(&|group| Some(group.row.rate.to_string())),
            of_best(&|group| Some(points(&valid(group)))),
            of_best(&|group| Some(points(&group.mean_of_known(|found| found.test_accuracy)?))),
        ]
    }
}
