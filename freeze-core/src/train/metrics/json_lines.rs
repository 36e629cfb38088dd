//! Metrics as a file of JSON lines.

use std::path::Path;

use serde::Serialize;

use super::MetricSink;
use super::appended::Appended;
use crate::error::Result;
use crate::policy::{Elapsed, Reason};

/// Writes one line of JSON for each value, at once, so that a run that is killed loses none:
///
/// ```text
/// {"name":"loss","value":0.25,"epoch":1,"epochs":10,"step":0,"steps":0}
/// ```
///
/// A line that says why a leaf changed has the names `leaf` and `why` instead of `name` and `value`.
///
/// JSON has no NaN and no infinities: they are the texts `"NaN"`, `"inf"` and `"-inf"`.
///
/// ```
/// use freeze_core::{Elapsed, JsonLines, MetricSink};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("run.jsonl");
/// let mut lines = JsonLines::create(&path)?;
/// lines.record("loss", 0.25, Elapsed::new(1, 10))?;
/// lines.finish()?;
/// let text = std::fs::read_to_string(&path)?;
/// assert_eq!(text.lines().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JsonLines(Appended);

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    value: Value,
    #[serde(flatten)]
    elapsed: Elapsed,
}

/// Why a leaf changed.
#[derive(Serialize)]
struct Why<'a> {
    leaf: &'a str,
    why: &'a str,
    #[serde(flatten)]
    elapsed: Elapsed,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Finite(f64),
    Text(String),
}

impl JsonLines {
    /// Creates the file at `path`, or appends to an existing one. When a run resumes, the lines of steps that
    /// it makes again are dropped.
    ///
    /// # Errors
    ///
    /// The file cannot be created or read.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Appended::open(path.as_ref()).map(Self)
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(line).map_err(|error| self.0.fault(error.into()))?;
        self.0.append((line + "\n").as_bytes())
    }
}

impl MetricSink for JsonLines {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        let value = match value.is_finite() {
            true => Value::Finite(value),
            false => Value::Text(value.to_string()),
        };
        self.write(&Line { name, value, elapsed })
    }

    fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> Result<()> {
        self.write(&Why { leaf: &reason.leaf, why: &reason.text, elapsed })
    }

    fn flush(&mut self) -> Result<()> {
        self.0.sync()
    }

    fn resume(&mut self, at: Elapsed) -> Result<()> {
        let text = self.0.text()?;
        // What is no line of ours is left as it is.
        let stays = |line: &&str| {
            serde_json::from_str::<Elapsed>(line).map_or(true, |when| !when.is_after(at))
        };
        let kept: String = text.split_inclusive('\n').filter(stays).collect();
        if kept.len() == text.len() { Ok(()) } else { self.0.replace(kept.as_bytes()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.0.sync()
    }
}
