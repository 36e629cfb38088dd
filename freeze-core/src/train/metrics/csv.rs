//! Metrics as a table of comma-separated values.

use std::path::Path;

use super::MetricSink;
use super::appended::Appended;
use crate::error::Result;
use crate::policy::{Elapsed, Reason};

const HEADER: [&str; 7] = ["epoch", "epochs", "step", "steps", "kind", "name", "value"];

/// Writes one row for each value, at once, so that a run that is killed loses none. `kind` is `metric`, or `why`
/// where `name` is a leaf that changed and `value` says why:
///
/// ```text
/// epoch,epochs,step,steps,kind,name,value
/// 1,10,50,500,metric,loss,0.25
/// ```
///
/// ```
/// use freeze_core::{Csv, Elapsed, MetricSink};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("run.csv");
/// let mut table = Csv::create(&path)?;
/// table.record("loss", 0.25, Elapsed::new(1, 10).at_step(50, 500))?;
/// assert!(std::fs::read_to_string(&path)?.ends_with("\n1,10,50,500,metric,loss,0.25\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Csv(Appended);

impl Csv {
    /// Creates the file at `path`, or appends to an existing one. When a run resumes, the rows of steps that it
    /// makes again are dropped.
    ///
    /// # Errors
    ///
    /// The file cannot be created or read.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let mut table = Self(Appended::open(path.as_ref())?);
        if table.0.is_empty()? {
            table.write(HEADER)?;
        }
        Ok(table)
    }

    fn write<S: AsRef<[u8]>>(&mut self, row: impl IntoIterator<Item = S>) -> Result<()> {
        let bytes = self.rows([row])?;
        self.0.append(&bytes)
    }

    /// Rows as the file has them.
    fn rows<S: AsRef<[u8]>, R: IntoIterator<Item = S>>(
        &self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Vec<u8>> {
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        for row in rows {
            writer.write_record(row).map_err(|error| self.0.fault(error.into()))?;
        }
        writer.into_inner().map_err(|error| self.0.fault(error.into_error()))
    }

    fn entry(&mut self, kind: &str, name: &str, value: &str, elapsed: Elapsed) -> Result<()> {
        let Elapsed { epoch, epochs, step, steps } = elapsed;
        let [epoch, epochs, step, steps] = [epoch, epochs, step, steps].map(|n| n.to_string());
        self.write([&*epoch, &*epochs, &*step, &*steps, kind, name, value])
    }
}

impl MetricSink for Csv {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        self.entry("metric", name, &value.to_string(), elapsed)
    }

    fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> Result<()> {
        self.entry("why", &reason.leaf, &reason.text, elapsed)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.sync()
    }

    fn resume(&mut self, at: Elapsed) -> Result<()> {
        let text = self.0.text()?;
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut kept = Vec::new();
        for row in reader.records() {
            let row = row.map_err(|error| self.0.fault(error.into()))?;
            let number = |place: usize| row.get(place).and_then(|cell| cell.parse().ok());
            // What is no row of ours, such as the header, is left as it is.
            let is_after = match (number(0), number(2)) {
                (Some(epoch), Some(step)) => Elapsed { epoch, step, ..at }.is_after(at),
                _ => false,
            };
            if !is_after {
                kept.push(row);
            }
        }
        let bytes = self.rows(kept.iter())?;
        if bytes == text.as_bytes() { Ok(()) } else { self.0.replace(&bytes) }
    }

    fn finish(&mut self) -> Result<()> {
        self.0.sync()
    }
}
