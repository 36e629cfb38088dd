//! Runs that differ by their seed alone, and what they are compared with.

use crate::common::mean::{Mean, between};
use crate::results::Line;
use crate::row::{Found, Row};

/// A task's groups, in the order of the CSV.
pub(super) struct Task<'a> {
    pub(super) name: &'a str,
    pub(super) groups: Vec<Group<'a>>,
}

/// The runs of one row.
pub(super) struct Group<'a> {
    /// Without its seed.
    pub(super) row: Row,
    lines: Vec<&'a Line>,
}

/// When runs came to an accuracy.
pub(super) struct Reached {
    /// The mean of the runs that did; `None` if none did.
    pub(super) seconds: Option<f64>,
    pub(super) runs: usize,
}

/// The tasks of some results.
pub(super) fn tasks(lines: &[Line]) -> Vec<Task<'_>> {
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for line in lines {
        let place = tasks.iter().position(|task| task.name == line.0.task);
        let place = place.unwrap_or_else(|| {
            tasks.push(Task { name: &line.0.task, groups: Vec::new() });
            tasks.len() - 1
        });
        let (groups, row) = (&mut tasks[place].groups, line.0.without_seed());
        match groups.iter_mut().find(|group| group.row == row) {
            // A run that stands in two files counts once.
            Some(group) if group.lines.iter().any(|known| known.0 == line.0) => {}
            Some(group) => group.lines.push(line),
            None => groups.push(Group { row, lines: vec![line] }),
        }
    }
    tasks
}

impl<'a> Group<'a> {
    pub(super) fn runs(&self) -> usize {
        self.lines.len()
    }

    /// The mean over the runs.
    pub(super) fn mean(&self, of: impl Fn(&Found) -> f64) -> Mean {
        Mean::of(self.lines.iter().map(|line| of(&line.1)))
    }

    /// The sum over the runs.
    pub(super) fn total(&self, of: impl Fn(&Found) -> f64) -> f64 {
        self.lines.iter().map(|line| of(&line.1)).sum()
    }

    /// The highest of the runs.
    pub(super) fn most(&self, of: impl Fn(&Found) -> f64) -> f64 {
        self.lines.iter().map(|line| of(&line.1)).fold(f64::NEG_INFINITY, f64::max)
    }

    /// As [`mean`](Self::mean), of the runs that have the value; `None` if none has.
    pub(super) fn mean_of_known(&self, of: impl Fn(&Found) -> Option<f64>) -> Option<Mean> {
        let known: Vec<f64> = self.lines.iter().filter_map(|line| of(&line.1)).collect();
        (!known.is_empty()).then(|| Mean::of(known.into_iter()))
    }

    /// On the test, or on validation where the test is left for later.
    pub(super) fn accuracy(&self) -> Mean {
        self.mean(result)
    }

    /// Seconds and validation accuracy after each epoch, as means over the runs.
    pub(super) fn curve(&self) -> Vec<(f64, f64)> {
        let points = |line: &&Line| line.1.curve.0.len();
        let count = self.lines.iter().map(points).min().unwrap_or(0);
        let of =
            |at: usize, part: fn((f64, f64)) -> f64| self.mean(|run| part(run.curve.0[at])).mean;
        (0..count).map(|at| (of(at, |p| p.0), of(at, |p| p.1))).collect()
    }

    /// When validation first came to `target`.
    pub(super) fn reached(&self, target: f64) -> Reached {
        let first = |line: &&Line| {
            line.1.curve.0.iter().find(|point| point.1 >= target).map(|point| point.0)
        };
        let found: Vec<f64> = self.lines.iter().filter_map(first).collect();
        let runs = found.len();
        Reached { seconds: (runs > 0).then(|| Mean::of(found.into_iter()).mean), runs }
    }
}

impl<'a> Task<'a> {
    /// The row whose baseline a target goes by and a picture shows: the first that trains all layers plainly, or
    /// else the first of all.
    pub(super) fn own(&self) -> Row {
        let plain = |group: &&Group<'_>| group.row.trains_all() && group.row == group.row.plain();
        // A task has a group.
        self.groups.iter().find(plain).unwrap_or(&self.groups[0]).row.plain()
    }

    /// Training all layers with the model and the samples of `row` and the memory that it saves, one group for
    /// each number of epochs, from few to many: of several learning rates the one that validation chose.
    pub(super) fn baseline(&self, row: &Row) -> Vec<&Group<'a>> {
        let same = |group: &&Group<'a>| group.row.trains_all() && group.row.is_comparable(row);
        let mut all: Vec<&Group<'a>> = self.groups.iter().filter(same).collect();
        let valid = |group: &Group<'_>| group.mean(|found| found.valid_accuracy).mean;
        all.sort_by(|a, b| a.row.epochs.cmp(&b.row.epochs).then(valid(b).total_cmp(&valid(a))));
        all.dedup_by_key(|group| group.row.epochs);
        all
    }

    /// What a time counts until: the final validation accuracy of the longest training of all layers less one
    /// standard error; `None` with fewer than two seeds.
    pub(super) fn target(&self) -> Option<f64> {
        let last = self.baseline(&self.own()).last()?.mean(|found| found.valid_accuracy);
        Some(last.mean - last.error?)
    }

    /// The time of a group as a share of that of all layers in the most epochs, with the seeds that both have.
    pub(super) fn share(&self, group: &Group<'a>) -> Option<f64> {
        let all = *self.baseline(&group.row.plain()).last()?;
        let both = |line: &&Line| {
            let other = all.lines.iter().find(|other| other.0.seed == line.0.seed)?;
            Some((line.1.seconds, other.1.seconds))
        };
        let both = group.lines.iter().filter_map(both);
        let (own, whole) = both.fold((0.0, 0.0), |sum, both| (sum.0 + both.0, sum.1 + both.1));
        (whole > 0.0).then(|| own / whole)
    }

    /// What a group is ahead, in accuracy, of training all layers for as many epochs as take the same time:
    /// the straight line between the schedules next to it, of the same seed. Where it takes less time than the
    /// shortest of them it is compared with that, which had more. A seed that not all of them have does not count.
    pub(super) fn ahead(&self, group: &Group<'a>) -> Option<Mean> {
        let baseline = self.baseline(&group.row);
        let ahead = |line: &&Line| {
            let of_seed = |group: &&Group<'a>| {
                let line = group.lines.iter().find(|other| other.0.seed == line.0.seed)?;
                Some((line.1.seconds, result(&line.1)))
            };
            let points: Option<Vec<(f64, f64)>> = baseline.iter().map(of_seed).collect();
            let mut points = points.filter(|points| !points.is_empty())?;
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Some(result(&line.1) - between(&points, line.1.seconds))
        };
        let all: Vec<f64> = group.lines.iter().filter_map(ahead).collect();
        (!all.is_empty()).then(|| Mean::of(all.into_iter()))
    }
}

fn result(found: &Found) -> f64 {
    found.test_accuracy.unwrap_or(found.valid_accuracy)
}
