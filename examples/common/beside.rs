//! Files that lie beside the checkpoints of a run.

use std::path::Path;

use freeze_core::checkpoint::Manager;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Result;

/// What the run is trained with.
const SETTINGS: &str = "settings.json";

/// Writes a value as the file called `name`.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn write(folder: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    let path = folder.join(name);
    let text = serde_json::to_string_pretty(value)?;
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Reads what [`write`] wrote.
///
/// # Errors
///
/// The file is not there, or holds something else.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let fault = |error: &dyn std::fmt::Display| {
        let found = format!("{}: {error}", path.display());
        format!("{found}; without it the run cannot go on, name another folder")
    };
    let text = std::fs::read_to_string(&path).map_err(|error| fault(&error))?;
    Ok(serde_json::from_str(&text).map_err(|error| fault(&error))?)
}

/// An error that names what differs from the settings that the run was begun with.
///
/// # Errors
///
/// Something differs, or as [`read`].
fn check(folder: &Path, settings: &Value) -> Result<()> {
    let begun: Value = read(folder, SETTINGS)?;
    let differs = settings.as_object().into_iter().flatten().filter_map(|(name, now)| {
        let was = &begun[name.as_str()];
        (was != now).then(|| format!("{name} was {was} and is {now}"))
    });
    let differs: Vec<String> = differs.collect();
    if differs.is_empty() {
        return Ok(());
    }
    let (folder, differs) = (folder.display(), differs.join(", "));
    Err(format!("{folder}: {differs}; go on with the same, or name another folder").into())
}

/// A manager that keeps the two latest checkpoints of a run in its folder, which goes on with the settings that it was begun
/// with; the rank that `leads` notes them.
///
/// # Errors
///
/// There are checkpoints and the run does not go on from them, or as [`check`] and [`write`].
pub(crate) fn manager(
    folder: &Path,
    resumes: bool,
    settings: &Value,
    leads: bool,
) -> Result<Manager> {
    let manager = Manager::new(folder)?.keep_last(2)?;
    match manager.latest()?.path {
        Some(path) if !resumes => {
            return Err(format!(
                "{} is there already; go on from it with --resume, or name another folder",
                path.display()
            )
            .into());
        }
        Some(_) => check(folder, settings)?,
        None if leads => write(folder, SETTINGS, settings)?,
        None => {}
    }
    Ok(manager)
}
