//! Several runs on one page.

mod curves;
mod run;
mod side;

use std::io::{self, Write};
use std::path::Path;

use run::Run;

use super::page::framed;
use super::saved;
use crate::checkpoint::{Goal, replace_file};
use crate::error::{Result, file_error};

/// Runs side by side on one HTML page that needs no network and runs no script: a metric over seconds of training,
/// the seconds until it came to a target, and which leaves trained in each run.
///
/// Times are those of training, as a [`Training`](crate::Training) tells its reports; evaluation does not count.
///
/// ```
/// use freeze_core::Comparison;
/// use freeze_core::checkpoint::Goal;
///
/// let page = Comparison::of("valid/accuracy")
///     .curve("all layers", [(1.0, 0.81), (2.0, 0.86)])
///     .curve("front frozen", [(0.6, 0.80), (1.2, 0.86)]) // or `.report("run.html")?`
///     .target(Goal::Highest, 0.85)
///     .page();
/// assert!(page.contains(">1.2 s</td>"));
/// ```
#[derive(Clone, Debug)]
pub struct Comparison {
    title: String,
    metric: String,
    target: Option<(Goal, f64)>,
    runs: Vec<Run>,
}

impl Comparison {
    /// Of runs by a metric, such as `valid/accuracy`.
    pub fn of(metric: impl Into<String>) -> Self {
        let metric = metric.into();
        Self { title: metric.clone(), metric, target: None, runs: Vec::new() }
    }

    /// Sets the heading of the page, which is the metric's name otherwise.
    pub fn title(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }

    /// Shows how long each run took to come to `value`.
    pub fn target(self, goal: Goal, value: f64) -> Self {
        Self { target: Some((goal, value)), ..self }
    }

    /// Adds the run of a file that an [`HtmlReport`](super::HtmlReport) wrote; its heading is its name.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no report, or has no such metric.
    pub fn report(mut self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let record = saved::read_existing(path)?;
        let Some(points) = record.by_seconds(&self.metric) else {
            let names = record.series.iter().map(|series| &*series.name);
            let why = format!("no metric `{}` ({})", self.metric, crate::error::listed(names));
            return Err(file_error(
                path,
                "compare",
                io::Error::new(io::ErrorKind::InvalidData, why),
            ));
        };
        let name = match record.title.is_empty() {
            true => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            false => record.title.clone(),
        };
        self.runs.push(Run { name, points, record: Some(record) });
        Ok(self)
    }

    /// Adds a run by its seconds of training and the metric then, in the order of time.
    pub fn curve(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let points = points.into_iter().collect();
        self.runs.push(Run { name: name.into(), points, record: None });
        self
    }

    /// The page.
    pub fn page(&self) -> String {
        let parts = maud::html! {
            (curves::curves(&self.metric, &self.runs))
            (side::table(&self.metric, self.target, &self.runs))
            (side::leaves(&self.runs))
        };
        let runs = self.runs.len();
        let under =
            maud::html! { (runs) (if runs == 1 { " run by " } else { " runs by " }) (self.metric) };
        framed(&self.title, &under, None, &parts, "")
    }

    /// Writes the page to a file, whole or not at all.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let page = self.page();
        let fault = |source| file_error(path, "write", source);
        let write =
            |to: &mut io::BufWriter<&std::fs::File>| to.write_all(page.as_bytes()).map_err(fault);
        replace_file(path, write, |_| Ok(()))
    }
}
