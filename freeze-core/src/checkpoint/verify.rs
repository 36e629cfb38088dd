//! Checks whether a file is complete and undamaged.

use std::path::Path;

use super::archive::Archive;
use super::state::State;
use crate::error::Result;
use crate::policy::Elapsed;

/// Reads a checkpoint from end to end, compares every checksum, and returns the run's progress.
/// Needs no model; of a delta, the base is not checked.
///
/// # Errors
///
/// The file cannot be read, is damaged, has a newer format, or is a file of weights.
pub fn verify(path: impl AsRef<Path>) -> Result<Elapsed> {
    let mut archive = Archive::open(path.as_ref())?;
    let state = read(&archive)?;
    let names: Vec<String> = archive.names().map(str::to_string).collect();
    for name in names {
        let checksum = state.checksum(&archive, &name)?;
        archive.tensor(&name, Some(checksum))?;
    }
    Ok(state.progress)
}

/// As [`verify`], and an error for a delta.
pub(super) fn verify_alone(path: &Path) -> Result<()> {
    let archive = Archive::open(path)?;
    if read(&archive)?.in_base.is_some() {
        return Err(archive.misfit("it is a delta; resume it with its base by `resume_delta`"));
    }
    verify(path).map(drop)
}

/// The progress of the run in a checkpoint; reads only the header.
pub(crate) fn progress_of(path: &Path) -> Result<Elapsed> {
    Ok(read(&Archive::open(path)?)?.progress)
}

/// The latest value of a metric in a checkpoint's history; reads only the header.
pub(super) fn last_metric(path: &Path, metric: &str) -> Result<Option<f64>> {
    let state = read(&Archive::open(path)?)?;
    let metrics = state.metrics.unwrap_or_default();
    Ok(metrics.into_iter().find(|saved| saved.name == metric).map(|saved| saved.last))
}

/// The state of a file that must be a checkpoint.
pub(super) fn read(archive: &Archive) -> Result<State> {
    State::read(archive)?.ok_or_else(|| {
        archive.misfit("it holds weights alone, no run; load it with `load_weights`")
    })
}
