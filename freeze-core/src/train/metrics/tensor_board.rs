//! Metrics as event files of TensorBoard.

mod event;

use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use event::{Event, framed};

use super::MetricSink;
use crate::error::{Error, Result};
use crate::policy::{Elapsed, Reason};

/// Writes scalars, and why leaves changed as texts, to an event file in a folder, at once, so that they can be
/// watched with `tensorboard --logdir`. The step is the optimizer's, or the epoch where steps are not counted.
///
/// A run that resumes begins another file in the folder, which tells TensorBoard to forget what came after the point
/// of resumption.
///
/// ```
/// use freeze_core::{Elapsed, MetricSink, TensorBoard};
///
/// # let dir = tempfile::tempdir()?;
/// # let folder = dir.path();
/// let mut board = TensorBoard::create(folder)?;
/// board.record("loss", 0.25, Elapsed::new(1, 10).at_step(50, 500))?;
/// board.finish()?;
/// assert_eq!(std::fs::read_dir(folder)?.count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Creates the folder, unless it is there, and a new event file in it.
    ///
    /// # Errors
    ///
    /// They cannot be created.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (path, file) = create(folder).map_err(|source| fault(folder, source))?;
        let mut board = Self { path, file };
        board.write(Event::first())?;
        Ok(board)
    }

    fn write(&mut self, mut event: Event) -> Result<()> {
        event.wall_time = now().as_secs_f64();
        self.file.write_all(&framed(&event)).map_err(|source| fault(&self.path, source))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|source| fault(&self.path, source))
    }
}

impl MetricSink for TensorBoard {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        self.write(Event::scalar(name, value as f32, place(elapsed)))
    }

    fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> Result<()> {
        self.write(Event::text(&format!("why/{}", reason.leaf), &reason.text, place(elapsed)))
    }

    fn flush(&mut self) -> Result<()> {
        self.sync()
    }

    fn resume(&mut self, at: Elapsed) -> Result<()> {
        self.write(Event::start(place(at) + 1))
    }

    fn finish(&mut self) -> Result<()> {
        self.sync()
    }
}

fn place(elapsed: Elapsed) -> i64 {
    let place = if elapsed.steps == 0 { elapsed.epoch } else { elapsed.step };
    i64::try_from(place).unwrap_or(i64::MAX)
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A file that was not there; TensorBoard reads those of a folder in the order of their names.
fn create(folder: &Path) -> io::Result<(PathBuf, File)> {
    create_dir_all(folder)?;
    let (seconds, process) = (now().as_secs(), std::process::id());
    let mut count = 0_u32;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.freeze.{process}.{count:04}");
        let path = folder.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => count += 1,
            Err(error) => return Err(error),
        }
    }
}

fn fault(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.display().to_string(), doing: "write", source }
}
