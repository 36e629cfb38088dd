//! Writes a file that appears complete or not at all, and is on the disk when the call returns.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::error::{Result, file_error};

/// The suffix of a file that is being written.
pub(super) const PARTIAL: &str = ".partial";

/// Writes `path` through a temporary file in the same folder: fsync, rename, fsync of the folder.
/// The new file is checked before it replaces the old one. If it stops before that, the old file is
/// unchanged; after an error the temporary file is removed too.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let fault = |doing| move |source| file_error(path, doing, source);
    let Some(name) = path.file_name() else {
        let why = io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file");
        return Err(file_error(path, "write", why));
    };
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => {
            return Err(file_error(path, "write", io::ErrorKind::IsADirectory.into()));
        }
        // A device or a pipe, in whose place there would be a file.
        Ok(there) if !there.is_file() => {
            return Err(file_error(path, "write", io::Error::other("it is not a file")));
        }
        _ => {}
    }
    let folder = folder_of(path);
    if !std::fs::metadata(&folder).map_err(fault("write"))?.is_dir() {
        return Err(file_error(path, "write", io::ErrorKind::NotADirectory.into()));
    }
    let mut builder = tempfile::Builder::new();
    let prefix = format!(".{}.", name.to_string_lossy());
    builder.prefix(&prefix).suffix(PARTIAL);
    // The permissions of any new file, by the process's umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(&folder).map_err(fault("create a file beside"))?;
    let mut buffered = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut buffered)?;
    buffered.into_inner().map_err(|error| fault("write")(error.into_error()))?;
    check(temporary.path())?;
    temporary.as_file().sync_all().map_err(fault("write"))?;
    temporary.persist(path).map_err(|error| fault("replace")(error.error))?;
    sync_folder(&folder).map_err(|source| file_error(&folder, "sync the folder", source))
}

/// The folder that contains `path`.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Makes renames and removals in `folder` durable. Only Unix has such a call.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
