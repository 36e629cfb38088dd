//! The layout of a folder of kept rows: `FOLDER/NAME/*.rows`, with one NAME per front.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The extension of files of rows.
const ENDING: &str = "rows";

/// The file with a front's header. Its modification time is that of the last use.
pub(super) const ABOUT: &str = "about.json";

/// The folders of all fronts.
pub(super) fn fronts(root: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(entries(root)?.into_iter().filter(|path| is_front(path)).collect())
}

/// Whether this is the folder of a front.
pub(super) fn is_front(path: &Path) -> bool {
    path.join(ABOUT).is_file()
}

/// The files of rows of one front, the earliest first.
pub(super) fn files(front: &Path) -> io::Result<Vec<PathBuf>> {
    let is_rows = |path: &PathBuf| path.extension().is_some_and(|ending| ending == ENDING);
    Ok(entries(front)?.into_iter().filter(is_rows).collect())
}

/// The bytes of the files of one front. A file that was just removed counts as 0.
pub(super) fn front_size(front: &Path) -> u64 {
    let size = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    files(front).unwrap_or_default().into_iter().map(size).sum()
}

/// The bytes of the files of all fronts.
pub(super) fn size(root: &Path) -> u64 {
    fronts(root).unwrap_or_default().iter().map(|front| front_size(front)).sum()
}

/// Creates the folder of a front if there is none, and marks it as used now.
pub(super) fn open(front: &Path, header: &str) -> io::Result<()> {
    fs::create_dir_all(front)?;
    let about = front.join(ABOUT);
    match fs::read_to_string(&about).is_ok_and(|text| text == header) {
        true => File::options().append(true).open(about)?.set_modified(SystemTime::now()),
        false => fs::write(about, header),
    }
}

/// Creates a file of rows, locked while it is open.
pub(super) fn create(front: &Path) -> io::Result<File> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let name = format!("{time:024x}-{}.{ENDING}", std::process::id());
    let file = File::options().read(true).write(true).create_new(true).open(front.join(name))?;
    // On a file system without locks, `clear` cannot tell that the file is in use.
    let _ = file.try_lock();
    Ok(file)
}

/// Removes a file unless a process is writing it; returns whether it was removed.
pub(super) fn remove_unless_locked(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    Ok(entries)
}
