//! Metrics as a file of JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::MetricSink;
use crate::error::{Error, Result};
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
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

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
    /// Creates the file at `path`, or appends to an existing one, as in a resumed run. A step that
    /// is run a second time has its values a second time, and the last ones count.
    ///
    /// # Errors
    ///
    /// The file cannot be created or read.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let fault = |source| file_error(&path, source);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(fault)?;
        end_the_last_line(&mut file).map_err(fault)?;
        Ok(Self { path, file })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(line);
        let line = line.map_err(|error| file_error(&self.path, error.into()))? + "\n";
        self.file.write_all(line.as_bytes()).map_err(|error| file_error(&self.path, error))
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

    /// Waits until everything is on the disk.
    fn finish(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|error| file_error(&self.path, error))
    }
}

/// Ends an incomplete last line, which a run leaves that was killed while writing.
fn end_the_last_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.display().to_string(), doing: "write", source }
}
