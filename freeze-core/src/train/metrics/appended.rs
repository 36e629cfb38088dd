//! A text file that grows by whole lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// What is appended is in the file at once, so that a run that is killed loses none of it.
#[derive(Debug)]
pub(super) struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    /// Creates the file at `path`, or opens one that is there, and ends its last line, which a run leaves
    /// incomplete that was killed while writing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let path = path.to_path_buf();
        let open = || {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            end_the_last_line(&mut file)?;
            io::Result::Ok(file)
        };
        match open() {
            // Where it lies, as a link would be replaced and not what it leads to. A pipe has no such place.
            Ok(file) => Ok(Self { path: std::fs::canonicalize(&path).unwrap_or(path), file }),
            Err(source) => Err(fault(&path, source)),
        }
    }

    pub(super) fn is_empty(&self) -> Result<bool> {
        let found = self.file.metadata().map(|found| found.len() == 0);
        found.map_err(|source| fault(&self.path, source))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| fault(&self.path, source))
    }

    /// Waits until everything is on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|source| fault(&self.path, source))
    }

    /// What is in the file; bytes that are no UTF-8 are replaced.
    pub(super) fn text(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(source) => Err(fault(&self.path, source)),
        }
    }

    /// Makes `bytes` the content: all of it or nothing.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let replace = || {
            let mut new = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
            new.as_file().set_permissions(self.file.metadata()?.permissions())?;
            new.write_all(bytes)?;
            new.as_file().sync_all()?;
            new.persist(&self.path)?;
            io::Result::Ok(())
        };
        replace().map_err(|source| fault(&self.path, source))?;
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// The error about the file.
    pub(super) fn fault(&self, source: io::Error) -> Error {
        fault(&self.path, source)
    }
}

fn end_the_last_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

fn fault(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.display().to_string(), doing: "write", source }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn behind_a_link_the_file_that_it_leads_to_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let [file, link] = ["run.csv", "link.csv"].map(|name| dir.path().join(name));
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        let mut appended = Appended::open(&link).expect("a new file");
        appended.append(b"a\nb\n").expect("two lines");
        appended.replace(b"a\n").expect("one of them");
        appended.append(b"c\n").expect("another");
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), "a\nc\n");
        assert!(std::fs::symlink_metadata(&link).expect("the link").is_symlink());
    }
}
