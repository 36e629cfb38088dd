//! Rows that are kept in files for later runs.

mod block;
mod folder;
mod identity;
mod list;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::account::Account;
use super::disk::{Disk, OnDisk, checksum};
use crate::error::{Result, file_error};

use block::{ENTRY, End, HEAD};
use identity::{Header, Unfit};

pub(in crate::cache) use identity::Identity;
pub use list::{KeptFront, clear, list};

/// The files of one front: those of earlier runs and of other processes, and one of its own, which is
/// created for the first row. Files are only appended to.
#[derive(Debug)]
pub(super) struct Kept {
    account: Arc<Account>,
    width: usize,
    root: PathBuf,
    front: PathBuf,
    header: String,
    files: Vec<Arc<dyn Disk>>,
    own: Option<Own>,
}

/// Whether there are files of a front.
pub(super) fn is_there(root: &Path, (identity, width): (&Identity, usize)) -> Result<bool> {
    let header = Header::new(identity, width).to_text();
    let header = header.map_err(|error| file_error(root, "describe", error.into()))?;
    Ok(folder::is_front(&root.join(identity::name(&header))))
}

#[derive(Clone, Copy, Debug)]
struct Own {
    file: u32,
    end: u64,
}

impl Kept {
    /// Opens all files and calls `see` with the key and the position of each row; of a key that occurs
    /// several times, with the latest row last. A file that cannot be used is skipped, which is traced.
    pub(super) fn open(
        account: Arc<Account>,
        root: &Path,
        (identity, width): (&Identity, usize),
        see: &mut dyn FnMut(u64, OnDisk),
    ) -> Result<Self> {
        let header = Header::new(identity, width).to_text();
        let header = header.map_err(|error| file_error(root, "describe", error.into()))?;
        let path = root.join(identity::name(&header));
        let front = path.as_path();
        let fault = |doing| move |source| file_error(front, doing, source);
        folder::open(front, &header).map_err(fault("make the folder"))?;
        let paths = folder::files(front).map_err(fault("read the folder"))?;
        let (root, front) = (root.to_path_buf(), path);
        let mut this = Self { account, width, root, front, header, files: Vec::new(), own: None };
        for path in paths {
            if let Err(error) = this.read(&path, see) {
                tracing::warn!(path = %path.display(), %error, "kept samples cannot be read");
            }
        }
        this.account.measured(folder::size(&this.root));
        Ok(this)
    }

    /// Appends a block of as many of `rows` as fit, from the first on, and returns their positions.
    pub(super) fn put(&mut self, keys: &[u64], rows: &[u8]) -> Vec<OnDisk> {
        if !self.account.is_writing() || keys.is_empty() {
            return Vec::new();
        }
        self.append(keys, rows).unwrap_or_else(|error| {
            self.account.failed(&error);
            Vec::new()
        })
    }

    pub(super) fn disk(&self, file: u32) -> Option<&Arc<dyn Disk>> {
        self.files.get(file as usize)
    }

    fn append(&mut self, keys: &[u64], rows: &[u8]) -> io::Result<Vec<OnDisk>> {
        let size = folder::size(&self.root);
        self.account.measured(size);
        let head = HEAD + if self.own.is_none() { self.header.len() as u64 } else { 0 };
        let room = self.account.disk.limit.saturating_sub(size + head);
        let fit = keys.len().min((room / (ENTRY + self.width as u64)) as usize);
        let (keys, rows) = (&keys[..fit], &rows[..fit * self.width]);
        if fit == 0 {
            return Ok(Vec::new());
        }
        let Own { file, end } = self.own()?;
        let sums: Vec<u64> = rows.chunks_exact(self.width).map(checksum).collect();
        let head = block::head(keys, &sums);
        let first = end + head.len() as u64;
        let disk = &self.files[file as usize];
        disk.write(&head, end)?;
        disk.write(rows, first)?;
        self.own = Some(Own { file, end: first + rows.len() as u64 });
        let at = |i: usize| first + (i * self.width) as u64;
        let place = |(i, &checksum)| OnDisk { file, at: at(i), checksum };
        Ok(sums.iter().enumerate().map(place).collect())
    }

    /// The file of this process.
    fn own(&mut self) -> io::Result<Own> {
        if let Some(own) = self.own {
            return Ok(own);
        }
        folder::open(&self.front, &self.header)?; // `clear` may have removed it
        let disk = folder::create(&self.front)?;
        disk.write(self.header.as_bytes(), 0)?;
        self.files.push(Arc::new(disk));
        let own = Own { file: self.files.len() as u32 - 1, end: self.header.len() as u64 };
        self.own = Some(own);
        Ok(own)
    }

    fn read(&mut self, path: &Path, see: &mut dyn FnMut(u64, OnDisk)) -> io::Result<()> {
        let file = File::open(path)?;
        let (len, start) = (file.metadata()?.len(), self.header.len() as u64);
        let mut found = vec![0; len.min(start) as usize];
        file.read(&mut found, 0)?;
        if found != self.header.as_bytes() {
            // Another process may not have finished writing the header.
            let is_begun = self.header.as_bytes().starts_with(&found);
            return if is_begun { Ok(()) } else { self.refuse(path, &file, len) };
        }
        let number = self.files.len() as u32;
        let file = Arc::new(file);
        self.files.push(Arc::clone(&file) as Arc<dyn Disk>);
        let see = &mut |key, at, checksum| see(key, OnDisk { file: number, at, checksum });
        let path = path.display();
        match block::read(&*file, start, len, self.width as u64, see)? {
            End::Whole => {}
            End::Unfinished => tracing::info!(%path, "kept samples end within a block"),
            End::Damaged(at) => {
                tracing::warn!(%path, at, "kept samples are damaged: those behind are made anew");
            }
        }
        Ok(())
    }

    /// Traces why a file is not used, and removes it if it is damaged.
    fn refuse(&self, path: &Path, file: &File, len: u64) -> io::Result<()> {
        let mut found = vec![0; len.min(1 << 20) as usize];
        file.read(&mut found, 0)?;
        let shown = path.display();
        match identity::difference(&found, &self.header) {
            Unfit::Foreign(parts) => {
                let parts = parts.join(", ");
                tracing::warn!(path = %shown, parts, "kept samples of another front are left alone");
            }
            Unfit::Damaged => {
                tracing::warn!(path = %shown, "kept samples with a damaged header are made anew");
                folder::remove_unless_locked(path)?;
            }
        }
        Ok(())
    }
}
