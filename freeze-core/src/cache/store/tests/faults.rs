//! Disks that fail.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{right, rows};
use crate::cache::store::Store;
use crate::cache::store::account::Account;
use crate::cache::store::disk::Disk;

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    None,
    /// No file can be made.
    Make,
    /// Nothing more can be written.
    Full,
    /// It says that it wrote, and did not.
    Forgets,
    /// Nothing can be read.
    Read,
    /// One bit in every read is another.
    Flips,
}

/// Changes what is wrong, of all files of a store.
#[derive(Clone, Debug)]
pub(super) struct Switch(Arc<Mutex<Fault>>);

#[derive(Debug)]
struct Faulty {
    fault: Switch,
    bytes: Mutex<Vec<u8>>,
}

impl Switch {
    pub(super) fn set(&self, fault: Fault) {
        *self.0.lock().expect("unpoisoned") = fault;
    }

    fn is(&self, fault: Fault) -> bool {
        *self.0.lock().expect("unpoisoned") == fault
    }

    fn fails(&self, fault: Fault) -> io::Result<()> {
        if self.is(fault) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Faulty {
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        self.fault.fails(Fault::Read)?;
        let bytes = self.bytes.lock().expect("unpoisoned");
        out.copy_from_slice(&bytes[at as usize..][..out.len()]);
        if self.fault.is(Fault::Flips) {
            out[at as usize % 5] ^= 1 << (at % 8);
        }
        Ok(())
    }

    fn write(&self, new: &[u8], at: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock().expect("unpoisoned");
        let end = at as usize + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        // A disk that becomes full in the middle of a write.
        let written = if self.fault.is(Fault::Full) { new.len() / 2 } else { new.len() };
        if !self.fault.is(Fault::Forgets) {
            bytes[at as usize..][..written].copy_from_slice(&new[..written]);
        }
        self.fault.fails(Fault::Full)
    }
}

/// A store whose disk fails when told.
pub(super) fn store(memory: u64, disk: u64) -> (Store, Switch) {
    let fault = Switch(Arc::new(Mutex::new(Fault::None)));
    let switch = fault.clone();
    let make = Box::new(move |_: &std::path::Path| {
        switch.fails(Fault::Make)?;
        Ok(Arc::new(Faulty { fault: switch.clone(), bytes: Mutex::default() }) as Arc<dyn Disk>)
    });
    let account = Account::new(memory, Some((PathBuf::from("nowhere"), disk)), make);
    (Store { account: Arc::new(account) }, fault)
}

/// What becomes of rows 0 and 1, which were written before the fault, and of 2 and 3.
#[test]
fn a_failing_disk_costs_rows_and_nothing_else() {
    for (fault, before, after, failed) in [
        (Fault::None, true, true, false),
        (Fault::Full, true, false, true),
        (Fault::Forgets, true, false, false),
        (Fault::Read, false, false, false),
        (Fault::Flips, false, false, false),
    ] {
        let (store, switch) = store(0, 1000);
        let mut records = store.records(10);
        assert_eq!(records.write(&[0, 1], &rows(&[0, 1], 10)), 2);
        switch.set(fault);
        records.write(&[2, 3], &rows(&[2, 3], 10));
        let mut expected = Vec::new();
        expected.extend(before.then_some([0, 1]).into_iter().flatten());
        expected.extend(after.then_some([2, 3]).into_iter().flatten());
        assert_eq!(right(&mut records, &[0, 1, 2, 3], 10), expected, "{fault:?}");
        assert_eq!(records.len(), expected.len(), "{fault:?}");
        assert_eq!((store.usage().disk_failed, store.usage().full), (failed, false), "{fault:?}");
        // The disk is well again: what was lost can be kept anew, unless it refused to write.
        switch.set(Fault::None);
        let kept = records.write(&[4], &rows(&[4], 10));
        assert_eq!(kept, usize::from(!failed), "{fault:?}");
    }
}

#[test]
fn where_no_file_can_be_made_memory_goes_on() {
    let (store, switch) = store(20, 1000);
    switch.set(Fault::Make);
    let mut records = store.records(10);
    assert_eq!(records.write(&[0, 1, 2], &rows(&[0, 1, 2], 10)), 2);
    assert_eq!(right(&mut records, &[0, 1, 2], 10), [0, 1]);
    assert!(store.usage().disk_failed);
}
