//! The checkpoints in a folder, by the progress in their names.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::atomic::{PARTIAL, sync_folder};
use super::state::{State, id};
use crate::error::{Error, Result, file_error};
use crate::policy::Elapsed;

/// The folder of one run.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

/// Epoch and step of a checkpoint, which make up its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) epoch: usize,
    pub(super) step: usize,
}

impl Folder {
    /// Creates the folder if there is none.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).map_err(|error| file_error(&path, "make the folder", error))?;
        let this = Self(path);
        this.entries()?;
        Ok(this)
    }

    /// Removes partial files that a killed process left, of a folder in which nobody else writes.
    pub(super) fn clean(&self) {
        for path in self.entries().unwrap_or_default() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(".epoch-") && name.ends_with(PARTIAL) {
                remove(&path);
            }
        }
    }

    /// Every checkpoint, the earliest first.
    pub(super) fn checkpoints(&self) -> Result<Vec<(Position, PathBuf)>> {
        let entries = self.entries()?.into_iter();
        let mut found: Vec<_> =
            entries.filter_map(|path| Some((Position::of_file(&path)?, path))).collect();
        found.sort();
        Ok(found)
    }

    /// The later checkpoints to remove once a run saves one at `at`; an error if it must not be
    /// saved.
    pub(super) fn in_the_way(
        &self,
        at: Position,
        stands: Option<Position>,
        counted: bool,
        replaces_later: bool,
    ) -> Result<Vec<PathBuf>> {
        let refused = |why: String| Err(Error::Unsaved { what: at.to_string(), why });
        let mut there = self.checkpoints()?;
        match (stands, there.last()) {
            _ if replaces_later => {}
            (Some(stands), _) if at < stands || counted && at.step < stands.step => {
                return refused(format!(
                    "the run was at {stands} already; count epochs and steps over the whole run, or \
                     say `replace_later` to go back"
                ));
            }
            (None, Some((last, _))) if *last >= at => {
                return refused(format!(
                    "`{}` has {last} of an earlier run; resume that run through the manager, take \
                     another folder, or say `replace_later` to begin anew",
                    self.0.display()
                ));
            }
            _ => {}
        }
        there.retain(|(position, _)| *position == at || replaces_later && *position > at);
        let touched: Vec<PathBuf> = there.iter().map(|(_, path)| path.clone()).collect();
        if let Some(base) = self.bases_among(&touched)?.first() {
            return refused(format!(
                "`{}`, which would be gone, is the base of a delta; remove the delta or take another \
                 folder",
                base.display()
            ));
        }
        there.retain(|(position, _)| *position > at);
        Ok(there.into_iter().map(|(_, path)| path).collect())
    }

    /// Those of `files` that are the base of a delta in the folder that is not itself in `files`.
    pub(super) fn bases_among(&self, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let mut needed = BTreeSet::new();
        for path in self.entries()?.into_iter().filter(|path| !files.contains(path)) {
            let Ok(archive) = Archive::open(&path) else { continue };
            if let Ok(Some(State { base_id: Some(id), .. })) = State::read(&archive) {
                needed.insert(id);
            }
        }
        let is_base = |path: &&PathBuf| {
            let archive = Archive::open(path).ok();
            archive.and_then(|archive| id(&archive)).is_some_and(|id| needed.contains(&id))
        };
        Ok(files.iter().filter(is_base).cloned().collect())
    }

    /// Removes files durably. Those that cannot be removed are traced as a warning.
    pub(super) fn remove(&self, files: &[PathBuf]) -> Result<()> {
        files.iter().for_each(|path| remove(path));
        sync_folder(&self.0).map_err(|error| file_error(&self.0, "sync the folder", error))
    }

    fn entries(&self) -> Result<Vec<PathBuf>> {
        let fault = |error| file_error(&self.0, "read the folder", error);
        let entries = fs::read_dir(&self.0).map_err(fault)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(fault)).collect()
    }
}

impl Position {
    pub(super) fn of(progress: Elapsed) -> Self {
        Self { epoch: progress.epoch, step: progress.step }
    }

    /// The position in a checkpoint's file name; `None` for any other file.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix("epoch-")?;
        let (epoch, step) = name.strip_suffix(".safetensors")?.split_once("-step-")?;
        Some(Self { epoch: epoch.parse().ok()?, step: step.parse().ok()? })
    }

    pub(super) fn file_name(self) -> String {
        format!("epoch-{:06}-step-{:010}.safetensors", self.epoch, self.step)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, step {}", self.epoch, self.step)
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an old file could not be removed");
    }
}
