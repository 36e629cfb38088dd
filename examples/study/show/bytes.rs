//! What training models of several sizes holds in memory, and which of them fits.

use super::cells::{escaped, header, megabytes, or_dash, row};
use super::groups::{Group, Task};
use crate::row::{Cache, Model, Row};

const NOTE: &str = "\nThe last column has the largest of these models that takes no more than the \
    smallest does when all its layers train and nothing is run again \
    or freed early.\n";

/// Runs of one way to train, on models of several sizes.
struct Way<'a> {
    name: &'a str,
    recompute: usize,
    release: bool,
    cache: Cache,
    sizes: Vec<&'a Group<'a>>,
}

/// The table; `None` where all runs train one model.
pub(super) fn table(task: &Task<'_>) -> Option<String> {
    let mut models: Vec<Model> = task.groups.iter().map(|group| group.row.model).collect();
    models.sort_unstable();
    models.dedup();
    (models.len() > 1).then(|| {
        let limit = limit(task);
        let within = or_dash(limit.map(|bytes| format!("within {} MB", megabytes(bytes))));
        let peaks: Vec<String> = models.iter().map(|model| format!("{model}, peak MB")).collect();
        let mut names = vec!["trained by", "stages run again", "gradients", "cache"];
        names.extend(peaks.iter().map(String::as_str));
        names.push(&within);
        let rows = ways(task)
            .into_iter()
            .map(|way| row(way.cells(&models, limit).iter().map(String::as_str)));
        header(&names) + &rows.collect::<String>() + NOTE
    })
}

/// What training all layers of the smallest model takes.
fn limit(task: &Task<'_>) -> Option<f64> {
    let plain = |group: &&Group<'_>| {
        group.row.trains_all() && group.row.recompute == 0 && !group.row.release
    };
    let smallest = task.groups.iter().filter(plain).min_by_key(|group| group.row.model)?;
    peak(smallest)
}

fn peak(group: &Group<'_>) -> Option<f64> {
    Some(group.mean_of_known(|found| found.peak_bytes.map(|bytes| bytes as f64))?.mean)
}

fn ways<'a>(task: &'a Task<'_>) -> Vec<Way<'a>> {
    let mut ways: Vec<Way<'_>> = Vec::new();
    for group in &task.groups {
        let Row { recompute, release, cache, .. } = group.row;
        let new = Way { name: &group.row.name, recompute, release, cache, sizes: Vec::new() };
        let place = ways.iter().position(|way| way.is_as(&new)).unwrap_or_else(|| {
            ways.push(new);
            ways.len() - 1
        });
        ways[place].sizes.push(group);
    }
    ways
}

impl Way<'_> {
    fn is_as(&self, other: &Self) -> bool {
        let of = |way: &Self| (way.recompute, way.release, way.cache);
        self.name == other.name && of(self) == of(other)
    }

    fn cells(&self, models: &[Model], limit: Option<f64>) -> Vec<String> {
        let of = |model: &Model| peak(self.sizes.iter().find(|group| group.row.model == *model)?);
        let fits = |model: &&Model| of(model).zip(limit).is_some_and(|(peak, limit)| peak <= limit);
        let again = match self.recompute {
            0 => "none".to_string(),
            stages => format!("every {stages}"),
        };
        let gradients = if self.release { "freed as used" } else { "of all at once" };
        let mut cells =
            vec![escaped(self.name), again, gradients.to_string(), self.cache.to_string()];
        cells.extend(models.iter().map(|model| or_dash(of(model).map(megabytes))));
        cells.push(models.iter().rev().find(fits).map_or("none".to_string(), Model::to_string));
        cells
    }
}
