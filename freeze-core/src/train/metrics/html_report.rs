//! A run as one HTML file.

mod axis;
mod chart;
mod compare;
mod decisions;
mod groups;
mod leaves;
mod page;
mod record;
mod saved;
mod series;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use record::Record;

use super::{MetricSink, PlanNow};
use crate::error::Result;
use crate::policy::{Elapsed, Reason};
use crate::train::Spent;
pub use compare::Comparison;

/// Writes a run as one HTML file that needs no network and runs no script: which leaves trained, froze and came from
/// the cache, as a picture over time; every metric as a chart; each decision with its reason; settings and machine.
///
/// The file is rewritten at the end of every epoch and with every checkpoint, whole or not at all, and reloads itself
/// in a browser until the run ends. It holds what a resumed run goes on from: no value comes twice, and none is missing
/// that came before the checkpoint. A run that is not resumed begins it again. A series keeps at most 1024 values: of
/// longer ones the smallest and the largest of each stretch of time. Of the decisions the last 1024 are kept.
///
/// Metrics named alike share a chart: `train/loss` with `valid/loss`, and what has the same name before the last `/` and
/// the same unit (`bytes`, `seconds`, or shares such as `percentage`, as words of the name).
///
/// ```
/// use freeze_core::{Elapsed, HtmlReport, MetricSink};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("run.html");
/// let mut report = HtmlReport::create(&path)?.title("my run").setting("learning rate", 1e-3);
/// report.record("loss", 0.25, Elapsed::new(1, 10).at_step(50, 500))?;
/// report.finish()?;
/// assert!(std::fs::read_to_string(&path)?.contains("<h1>my run</h1>"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HtmlReport {
    path: PathBuf,
    record: Record,
    /// What the file held, until it is known whether the run resumes.
    before: Option<Record>,
    /// Whether the file holds another run, which stays until this one writes.
    holds_another: bool,
    /// Whether the file lacks something.
    behind: bool,
}

impl HtmlReport {
    /// A report at `path`, whose folder is created unless it is there. A report that is there is kept until the end of
    /// the first epoch or the first checkpoint.
    ///
    /// # Errors
    ///
    /// The file that is there cannot be read, or is no report; or the folder cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let before = saved::read(&path)?;
        saved::create_folder_of(&path)?;
        let holds_another = before.is_some();
        Ok(Self { path, record: Record::default(), before, holds_another, behind: false })
    }

    /// Sets the heading of the page.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.record.title = title.into();
        self
    }

    /// Adds a line to the table of settings.
    pub fn setting(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.record.settings.push((name.into(), value.to_string()));
        self
    }

    /// The record, to which something is added at `elapsed`.
    fn add(&mut self, elapsed: Elapsed) -> &mut Record {
        (self.before, self.behind) = (None, true);
        self.record.reach(elapsed);
        &mut self.record
    }

    fn write(&mut self) -> Result<()> {
        saved::write(&self.path, &self.record)?;
        (self.holds_another, self.behind) = (false, false);
        Ok(())
    }
}

impl MetricSink for HtmlReport {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        self.add(elapsed).metric(name, value, elapsed);
        Ok(())
    }

    fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> Result<()> {
        self.add(elapsed).decision(reason, elapsed);
        Ok(())
    }

    fn plan(&mut self, now: &PlanNow<'_>, elapsed: Elapsed) -> Result<()> {
        self.add(elapsed).plan(now, elapsed);
        Ok(())
    }

    fn spent(&mut self, spent: &Spent, elapsed: Elapsed) -> Result<()> {
        self.add(elapsed).spent(spent, elapsed);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.behind { self.write() } else { Ok(()) }
    }

    fn resume(&mut self, at: Elapsed) -> Result<()> {
        if let Some(before) = self.before.take() {
            self.record.go_on_from(before);
        }
        self.holds_another = false;
        self.record.forget_after(at);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.record.ended = true;
        self.write()
    }
}

/// Writes what came since it was last written; before the first time not over another run.
impl Drop for HtmlReport {
    fn drop(&mut self) {
        if self.behind
            && !self.holds_another
            && let Err(error) = self.write()
        {
            tracing::warn!("the last part of a report is lost: {error}");
        }
    }
}
