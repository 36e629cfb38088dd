//! Where the weights of the best epoch lie.

use std::path::{Path, PathBuf};

use freeze_core::Training;
use freeze_core::models::Pooling;

use crate::common::Result;
use crate::folder::{FILES, Folder, Net, beside, put_in_place};

/// The folder that a run saves to, which another run may have too, and one beside its checkpoints, which are its own.
pub(crate) struct Best {
    out: PathBuf,
    kept: Option<PathBuf>,
}

impl Best {
    /// Those of a run that saves to `out` and has its checkpoints, if any, in a folder.
    pub(crate) fn new(out: &Path, checkpoints: Option<&Path>) -> Self {
        Self { out: out.to_path_buf(), kept: checkpoints.map(|folder| folder.join("best")) }
    }

    /// Saves the run's weights in both.
    ///
    /// # Errors
    ///
    /// Those of [`Folder::save`].
    pub(crate) fn save(
        &self,
        folder: &Folder,
        run: &Training<Net>,
        classes: &[String],
        pooling: Pooling,
    ) -> Result<()> {
        let mut places = self.kept.iter().chain([&self.out]);
        places.try_for_each(|place| folder.save(place, run, classes, pooling))
    }

    /// Copies what lies beside the checkpoints to where the run saves, for a run that goes on.
    ///
    /// # Errors
    ///
    /// It is not there, or a file cannot be written.
    pub(crate) fn restore(&self) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let fault = |error| format!("{}: {error}", self.out.display());
        std::fs::create_dir_all(&self.out).map_err(fault)?;
        if kept.canonicalize().ok() == self.out.canonicalize().ok() {
            return Ok(());
        }
        for name in FILES {
            let from = kept.join(name);
            std::fs::copy(&from, beside(&self.out, name)).map_err(|error| {
                let found = format!("{} to {}: {error}", from.display(), self.out.display());
                format!("{found}; put the best weights so far back, or train in another folder")
            })?;
        }
        put_in_place(&self.out)
    }
}
