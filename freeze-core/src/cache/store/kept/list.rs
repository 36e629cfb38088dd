//! Lists and clears a folder of kept rows.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::folder::{self, ABOUT};
use super::identity::Header;
use crate::error::{Result, file_error};

/// The stored outputs of one frozen front, of all runs that used the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptFront {
    /// The name of its folder: a hash of everything that must be equal for a run to use it.
    pub name: String,
    /// The model's type. Empty, as are the next three, if the description of the front is damaged.
    pub model: String,
    /// The path of the stage in front of which the outputs were stored.
    pub stage: String,
    /// The precision that numbers are stored in.
    pub precision: String,
    /// The user's version of the data.
    pub data: String,
    /// The bytes of its files.
    pub bytes: u64,
    /// When a run last opened it.
    pub used: SystemTime,
}

/// The fronts whose outputs are stored in a folder, sorted by name.
///
/// # Errors
///
/// The folder cannot be read.
pub fn list(dir: impl AsRef<Path>) -> Result<Vec<KeptFront>> {
    let dir = dir.as_ref();
    let fronts = folder::fronts(dir).map_err(|error| file_error(dir, "read the folder", error))?;
    Ok(fronts.iter().map(|front| describe(front)).collect())
}

/// Removes the stored outputs of the fronts for which `which` returns true; returns the number of bytes
/// freed. Files that a process is writing are left, which is traced.
///
/// ```
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let month = Duration::from_secs(30 * 24 * 3600);
/// let is_old = |used: std::time::SystemTime| used.elapsed().is_ok_and(|time| time > month);
/// let freed = freeze_core::cache::clear(folder, |front| is_old(front.used))?;
/// assert_eq!(freed, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The folder cannot be read, or a file cannot be removed.
pub fn clear(dir: impl AsRef<Path>, which: impl Fn(&KeptFront) -> bool) -> Result<u64> {
    let dir = dir.as_ref();
    let mut freed = 0;
    for front in list(dir)?.iter().filter(|front| which(front)) {
        freed += remove(&dir.join(&front.name))?;
    }
    Ok(freed)
}

fn describe(front: &Path) -> KeptFront {
    let about = front.join(ABOUT);
    let text = fs::read_to_string(&about).unwrap_or_default();
    let header = text.lines().next().and_then(|json| serde_json::from_str::<Header>(json).ok());
    let used = fs::metadata(&about).and_then(|about| about.modified());
    let name = front.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let [model, stage, precision, data] = match header {
        None => Default::default(),
        Some(Header { identity, .. }) => {
            [identity.model, identity.stage, identity.precision, identity.data]
        }
    };
    KeptFront {
        name,
        model,
        stage,
        precision,
        data,
        bytes: folder::front_size(front),
        used: used.unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

fn remove(front: &Path) -> Result<u64> {
    let mut freed = 0;
    let mut is_used = false;
    for path in folder::files(front).map_err(|error| file_error(front, "read the folder", error))? {
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        let fault = |error| file_error(&path, "remove", error);
        match folder::remove_unless_locked(&path).map_err(fault)? {
            true => freed += bytes,
            false => is_used = true,
        }
    }
    match is_used {
        true => {
            tracing::warn!(path = %front.display(), "a process is writing kept samples: its file is left")
        }
        false => fs::remove_dir_all(front).map_err(|error| file_error(front, "remove", error))?,
    }
    Ok(freed)
}
