//! Rows of bytes by key: in memory up to a budget, then in a file up to another.

mod account;
mod ahead;
mod disk;
mod files;
mod kept;
mod memory;
mod records;
mod scratch;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Result, file_error};

use account::Account;
pub(in crate::cache) use account::Budget;
pub(in crate::cache) use ahead::{Lift, Lifted};
pub(in crate::cache) use kept::Identity;
pub use kept::{KeptFront, clear, list};
pub(in crate::cache) use records::Records;

/// Where rows may be stored, with budgets in bytes. The budgets count only rows; the index takes
/// about fifty bytes more for each.
#[derive(Clone, Debug, Default)]
pub(in crate::cache) struct Places {
    pub(in crate::cache) memory: u64,
    /// A folder for files, and the budget of all files together.
    pub(in crate::cache) disk: Option<(PathBuf, u64)>,
}

/// The bytes held and the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) struct Usage {
    pub(in crate::cache) memory: u64,
    pub(in crate::cache) memory_budget: u64,
    pub(in crate::cache) disk: u64,
    pub(in crate::cache) disk_budget: u64,
    /// Whether a row did not fit.
    pub(in crate::cache) full: bool,
    /// Whether a file could not be written, after which no more are written.
    pub(in crate::cache) disk_failed: bool,
    /// How many rows were read ahead.
    pub(in crate::cache) ahead: u64,
}

/// Budgets that any number of [`Records`] share. Rows that do not fit are not stored, which is
/// traced once.
#[derive(Debug)]
pub(in crate::cache) struct Store {
    account: Arc<Account>,
}

impl Store {
    /// An empty store; the folder is created if there is none.
    ///
    /// # Errors
    ///
    /// No file can be created in the folder.
    pub(in crate::cache) fn new(places: Places) -> Result<Self> {
        if let Some((folder, _)) = &places.disk {
            let fault = |doing| move |source| file_error(folder, doing, source);
            fs::create_dir_all(folder).map_err(fault("make the folder"))?;
            disk::unnamed(folder).map_err(fault("make a file in"))?;
        }
        let account = Account::new(places.memory, places.disk, Box::new(disk::unnamed));
        Ok(Self { account: Arc::new(account) })
    }

    /// Empty records for rows of `width` bytes.
    pub(in crate::cache) fn records(&self, width: usize) -> Records {
        Records::new(Arc::clone(&self.account), width)
    }

    /// Records with the rows that earlier runs kept in the folder under this identity; rows written now are
    /// kept too. Rows that other processes write later are not seen. Without a folder they are as
    /// those of [`records`](Self::records).
    ///
    /// The budget is that of all files in the folder; rows that do not fit go to memory. A row that is
    /// removed is back in the next run.
    ///
    /// # Errors
    ///
    /// The folder cannot be used. A file that is damaged or of another front is skipped and traced.
    pub(in crate::cache) fn kept(&self, width: usize, identity: &Identity) -> Result<Records> {
        Records::kept(Arc::clone(&self.account), width, identity)
    }

    /// Whether an earlier run kept rows under this identity.
    ///
    /// # Errors
    ///
    /// The identity cannot be described.
    pub(in crate::cache) fn has_kept(&self, width: usize, identity: &Identity) -> Result<bool> {
        match &self.account.folder {
            Some(folder) => kept::is_there(folder, (identity, width)),
            None => Ok(false),
        }
    }

    /// The bytes that all records hold together.
    pub(in crate::cache) fn usage(&self) -> Usage {
        let Account { memory, disk, .. } = &*self.account;
        Usage {
            memory: memory.used(),
            memory_budget: memory.limit,
            disk: self.account.on_disk(),
            disk_budget: disk.limit,
            full: self.account.is_full(),
            disk_failed: !self.account.is_writing(),
            ahead: self.account.ahead(),
        }
    }
}
