//! The TOML of a study: tasks, and the rows of each.

use std::path::Path;

use serde::Deserialize;
use toml::Value;

use crate::common::Result;
use crate::common::policy::policy;
use crate::row::{Cache, Model, Row, Schedule};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    task: Vec<TaskText>,
}

/// A task, whose settings are those of its rows unless they say otherwise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskText {
    name: String,
    model: Model,
    train: usize,
    valid: usize,
    /// Without it the test is left for later, as it has to be while settings are chosen.
    #[serde(default)]
    test: usize,
    epochs: usize,
    rate: f64,
    #[serde(default = "usual_batch")]
    batch: usize,
    seeds: Vec<u64>,
    row: Vec<Value>,
}

fn usual_batch() -> usize {
    32
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RowText {
    name: Option<String>,
    model: Option<Model>,
    policy: Option<String>,
    cache: Cache,
    schedule: Schedule,
    epochs: Option<usize>,
    rate: Option<f64>,
    train: Option<usize>,
    recompute: usize,
    release: bool,
    seeds: Option<Vec<u64>>,
}

/// A run, and where the file has it.
pub(crate) struct Planned {
    pub(crate) row: Row,
    /// Such as "row 3 of task `residual`".
    pub(crate) place: String,
}

/// The runs of a file: all rows with their first seeds, then all with their second ones, so that a study that
/// is stopped early has something of everything.
///
/// # Errors
///
/// The file cannot be read, or has a row that cannot be run: one line that names the task, the row by its
/// number, and what is wrong.
pub(crate) fn read(path: &Path) -> Result<Vec<Planned>> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{name}: {error}; name the TOML of a study"))?;
    let text: Text = toml::from_str(&text)
        .map_err(|error| format!("{name}: {}", error.to_string().trim().replace('\n', " ")))?;
    let mut by_seed: Vec<Vec<Planned>> = Vec::new();
    for task in text.task {
        for (at, value) in task.row.iter().enumerate() {
            let place = format!("row {} of task `{}`", at + 1, task.name);
            let rows =
                of_row(&task, value.clone()).map_err(|why| format!("{name}: {place}: {why}"))?;
            by_seed.resize_with(by_seed.len().max(rows.len()), Vec::new);
            for (at, row) in rows.into_iter().enumerate() {
                by_seed[at].push(Planned { row, place: place.clone() });
            }
        }
    }
    Ok(by_seed.into_iter().flatten().collect())
}

/// The runs of a row, one for each seed.
fn of_row(task: &TaskText, value: Value) -> Result<Vec<Row>> {
    let text: RowText = value
        .try_into()
        .map_err(|error: toml::de::Error| error.to_string().trim().replace('\n', " "))?;
    let policy_text = text.policy.unwrap_or_else(|| "none".to_string());
    if policy_text != "none" {
        policy(&policy_text)?;
    } else if text.cache != Cache::Off {
        return Err("nothing freezes, so there is nothing to cache; give it a policy".into());
    }
    let name = match (text.name, &*policy_text) {
        (Some(name), _) => name,
        (None, "none") => "all layers trained".to_string(),
        (None, policy) => policy.to_string(),
    };
    let row = Row {
        task: task.name.clone(),
        name,
        model: text.model.unwrap_or(task.model),
        policy: policy_text,
        cache: text.cache,
        schedule: text.schedule,
        epochs: text.epochs.unwrap_or(task.epochs),
        rate: text.rate.unwrap_or(task.rate),
        batch: task.batch,
        train: text.train.unwrap_or(task.train),
        valid: task.valid,
        test: task.test,
        recompute: text.recompute,
        release: text.release,
        seed: 0,
    };
    let counts =
        [("epochs", row.epochs), ("batch", row.batch), ("train", row.train), ("valid", row.valid)];
    if let Some((what, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
        return Err(format!("`{what}` is 0; give at least 1").into());
    }
    if !(row.rate.is_finite() && row.rate > 0.0) {
        return Err(format!("`rate` is {}; give a number above 0", row.rate).into());
    }
    let seeds = text.seeds.unwrap_or_else(|| task.seeds.clone());
    if seeds.is_empty() {
        return Err("`seeds` is empty; give at least one".into());
    }
    Ok(seeds.into_iter().map(|seed| Row { seed, ..row.clone() }).collect())
}
