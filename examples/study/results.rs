//! The CSV: a line for each run that has ended.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::common::Result;
use crate::row::{Curve, Found, Row};

/// The columns, in the order of the fields of [`Row`] and [`Found`].
const COLUMNS: [&str; 24] = [
    "task",
    "name",
    "model",
    "policy",
    "cache",
    "schedule",
    "epochs",
    "rate",
    "batch",
    "train",
    "valid",
    "test",
    "recompute",
    "release",
    "seed",
    "valid_accuracy",
    "test_accuracy",
    "seconds",
    "processor_seconds",
    "peak_bytes",
    "state_bytes",
    "leaf_steps",
    "threads",
    "curve",
];

/// A run and what came of it.
pub(crate) type Line = (Row, Found);

/// A file that grows by lines, and that no other process opens meanwhile.
pub(crate) struct Results {
    path: PathBuf,
    file: File,
    pub(crate) lines: Vec<Line>,
}

impl Results {
    /// Opens or creates the file at `path`. A last line that was not written whole is dropped; a file that is no
    /// table of this study stays as it is.
    ///
    /// # Errors
    ///
    /// It cannot be written, another process has it open, or it is no table of this study.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fault = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut file = options.open(path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let other = "another `study run` appends to it; let that end, or name another CSV";
                return Err(format!("{}: {other}", path.display()).into());
            }
            Err(TryLockError::Error(error)) => return Err(fault(error).into()),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(fault)?;
        let mut results = Self { path: path.to_path_buf(), file, lines: Vec::new() };
        let header = line_of(COLUMNS)?;
        if let Some(rest) = header.strip_prefix(&*text) {
            results.write(rest)?;
            return Ok(results);
        }
        let (whole, rest) = text.split_at(text.rfind('\n').map_or(0, |end| end + 1));
        results.lines = parse(path, whole)?;
        if let Some(line) = last(rest) {
            results.write("\n")?;
            results.lines.push(line);
        } else if !rest.is_empty() {
            results.file.set_len(whole.len() as u64).map_err(fault)?;
        }
        Ok(results)
    }

    /// Appends a line, at once.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn append(&mut self, line: Line) -> Result<()> {
        self.write(&line_of(&line)?)?;
        self.lines.push(line);
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| format!("{}: {error}", self.path.display()).into())
    }
}

fn line_of(values: impl serde::Serialize) -> Result<String> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.serialize(values)?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    Ok(String::from_utf8(bytes)?)
}

/// The lines of a file that is only read.
///
/// # Errors
///
/// It cannot be read, or is no table of this study.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}; `study run` writes it", path.display()))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Line>> {
    let fault =
        |what: String| format!("{}: {what}; name a CSV that `study run` wrote", path.display());
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = records.next().transpose().map_err(|error| fault(error.to_string()))?;
    if !header.is_some_and(|header| header.iter().eq(COLUMNS)) {
        return Err(fault("it has other columns".to_string()).into());
    }
    let line = |(at, record): (usize, csv::Result<csv::StringRecord>)| {
        let line = record.and_then(|record| record.deserialize::<Line>(None));
        line.map_err(|error| fault(format!("line {}: {error}", at + 2)).into())
    };
    records.enumerate().map(line).collect()
}

/// What stands behind the last end of a line, if only that end is missing: the curve, which stands last, ends with
/// the result.
fn last(rest: &str) -> Option<Line> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(rest.as_bytes());
    let record = reader.records().next()?.ok()?;
    let line: Line = record.deserialize(None).ok()?;
    let end = String::from(Curve(vec![(line.1.seconds, line.1.valid_accuracy)]));
    rest.ends_with(&end).then_some(line)
}
