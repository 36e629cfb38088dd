//! What is read is what was written, whatever the budgets and the disk.

mod damage;
mod faults;
mod kept;
mod laws;
mod processes;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use candle_core::{Device, Tensor};

use super::{Lift, Lifted, Places, Records, Store, Usage};
use faults::Fault;

/// A row that belongs to one key and one time.
fn row(key: u64, time: u64, width: usize) -> Vec<u8> {
    (0..width as u64).map(|i| (key * 31 + time * 7 + i * 13) as u8).collect()
}

fn rows(keys: &[u64], width: usize) -> Vec<u8> {
    keys.iter().flat_map(|key| row(*key, 0, width)).collect()
}

fn store(memory: u64, disk: Option<(&Path, u64)>) -> Store {
    let disk = disk.map(|(folder, budget)| (folder.to_path_buf(), budget));
    Store::new(Places { memory, disk }).expect("a store")
}

/// All rows of `keys` that are there, each of which must be right.
fn right(records: &mut Records, keys: &[u64], width: usize) -> Vec<usize> {
    let mut out = b"before".to_vec();
    let found = records.read(keys, &mut out);
    let expected: Vec<u64> = found.iter().map(|&i| keys[i]).collect();
    assert_eq!(&out[..6], b"before");
    assert!(out[6..] == rows(&expected, width), "a wrong row among {keys:?}");
    found
}

/// Makes a tensor of bytes of rows.
fn lift(width: usize) -> Lift {
    Lift(Arc::new(move |rows| {
        let shape = (rows.len() / width, width);
        Ok(vec![Tensor::from_slice(rows, shape, &Device::Cpu)?])
    }))
}

/// The rows of the tensors that were made ahead of time, which are those that they were made of.
fn lifted(records: &mut Records, keys: &[u64]) -> Option<Vec<Vec<u8>>> {
    let Lifted { tensors, places, rows } = records.lifted(keys)?;
    let made = tensors[0].to_vec2::<u8>().expect("rows");
    let made: Vec<Vec<u8>> = places.iter().map(|at| made[*at as usize].clone()).collect();
    assert_eq!(made, rows);
    Some(made)
}

/// Rows that fit, by the budgets of memory and disk, in rows of 100 000 bytes.
#[test]
fn as_many_rows_are_kept_as_fit() {
    let width = 100_000;
    let dir = tempfile::tempdir().expect("a folder");
    let keys: Vec<u64> = (0..100).collect();
    for (memory, disk, kept) in [
        (0, None, 0),
        (width - 1, None, 0),
        (width, None, 1),
        (50 * width + 7, None, 50),
        (100 * width, None, 100),
        (u64::MAX, None, 100),
        (0, Some(0), 0),
        (0, Some(width), 1),
        (0, Some(u64::MAX), 100),
        (10 * width, Some(30 * width + 1), 40),
        (99 * width, Some(width), 100),
    ] {
        let case = format!("{memory} in memory, {disk:?} on disk");
        let store = store(memory, disk.map(|budget| (dir.path(), budget)));
        let mut records = store.records(width as usize);
        // Batches of 30.
        let mut written = 0;
        for keys in keys.chunks(30) {
            written += records.write(keys, &rows(keys, width as usize));
        }
        assert_eq!((written, records.len()), (kept, kept), "{case}");
        let usage = store.usage();
        assert_eq!(usage.full, kept < keys.len(), "{case}");
        assert!(usage.memory <= memory && usage.disk <= disk.unwrap_or(0), "{case}: {usage:?}");
        assert!(usage.memory + usage.disk >= kept as u64 * width, "{case}: {usage:?}");
        let found = right(&mut records, &keys, width as usize);
        assert_eq!(found, (0..kept).collect::<Vec<_>>(), "{case}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 0, "{case}");
        drop(records);
        assert_eq!((store.usage().memory, store.usage().disk), (0, 0), "{case}");
    }
}

#[test]
fn rows_without_bytes_and_batches_without_rows() {
    let store = store(0, None);
    let mut records = store.records(0);
    assert_eq!(records.write(&[], &[]), 0);
    assert_eq!(records.write(&[7, 8], &[]), 2);
    let mut out = Vec::new();
    records.read_ahead(&[7], None);
    assert_eq!((records.read(&[8, 9, 7], &mut out), out.len()), (vec![0, 2], 0));
    records.remove(8);
    assert!(records.contains(7) && !records.contains(8) && !store.usage().full);

    let mut records = store.records(4);
    assert_eq!((records.write(&[], &[]), records.read(&[], &mut out)), (0, vec![]));
    assert!(!store.usage().full);
}

/// Once the budgets are used up, removed and replaced rows make room.
#[test]
fn room_is_used_again() {
    let dir = tempfile::tempdir().expect("a folder");
    for (memory, disk) in [(80, 0), (0, 80), (40, 40)] {
        let store = store(memory, Some((dir.path(), disk)));
        let mut records = store.records(8);
        let keys: Vec<u64> = (0..10).collect();
        assert_eq!(records.write(&keys, &rows(&keys, 8)), 10);
        let held = store.usage();
        for round in 1..50 {
            let new: Vec<u64> = (0..3).map(|i| round * 10 + i).collect();
            let old: Vec<u64> =
                (0..3).map(|i| if round == 1 { i } else { (round - 1) * 10 + i }).collect();
            old.iter().for_each(|key| records.remove(*key));
            assert_eq!(records.write(&new, &rows(&new, 8)), 3, "{round}");
            assert_eq!(records.write(&keys[3..], &rows(&keys[3..], 8)), 7, "{round}");
            assert_eq!(store.usage(), Usage { full: false, ..held });
        }
        assert_eq!((records.write(&[1], &row(1, 0, 8)), records.len()), (0, 10));
        assert!(store.usage().full);
        assert_eq!(right(&mut records, &keys, 8).len(), 7);
    }
}

/// One budget for all records, and what one gives back another may take.
#[test]
fn records_share_the_budgets() {
    let dir = tempfile::tempdir().expect("a folder");
    let width = 1 << 16;
    for (memory, disk) in [(6 << 16, 0), (0, 6 << 16)] {
        let store = store(memory, Some((dir.path(), disk)));
        let (mut wide, mut narrow) = (store.records(2 * width), store.records(width));
        assert_eq!(wide.write(&[1, 2], &rows(&[1, 2], 2 * width)), 2);
        assert_eq!(narrow.write(&[1, 2, 3], &rows(&[1, 2, 3], width)), 2);
        assert_eq!(right(&mut wide, &[3, 2, 1], 2 * width), [1, 2]);
        assert_eq!(right(&mut narrow, &[2, 3, 1], width), [0, 2]);
        drop(wide);
        assert_eq!(narrow.write(&[3, 4, 5, 6, 7], &rows(&[3, 4, 5, 6, 7], width)), 4);
        assert_eq!(right(&mut narrow, &[7, 6, 5, 1], width), [1, 2, 3]);
    }
}

#[test]
fn the_last_of_two_rows_of_a_key_stays() {
    let twice =
        |first: u64, second: u64| [row(1, first, 8), row(2, 0, 8), row(1, second, 8)].concat();
    // Room for all three, and none for the last.
    for (budget, there) in [(24, true), (16, false)] {
        let store = store(budget, None);
        let mut records = store.records(8);
        records.write(&[1, 2, 1], &twice(5, 6));
        let mut out = Vec::new();
        assert_eq!(records.read(&[1], &mut out).len(), usize::from(there));
        assert!(!there || out == row(1, 6, 8));
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for folder in [file.path().to_path_buf(), file.path().join("below")] {
        let error = Store::new(Places { memory: 0, disk: Some((folder.clone(), 1)) });
        let error = error.expect_err("a file is no folder").to_string();
        assert!(error.contains(&folder.display().to_string()), "{error}");
    }
}

/// A row that was replaced or removed after it was read ahead.
#[test]
fn what_was_read_ahead_is_never_stale() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(0, Some((dir.path(), 80)));
    let mut records = store.records(8);
    let keys = [1, 2, 3, 4];
    records.write(&keys, &[row(1, 9, 8), rows(&keys[1..], 8)].concat());
    records.read_ahead(&keys, None);
    records.write(&[1], &row(1, 0, 8));
    records.remove(2);
    assert_eq!(right(&mut records, &keys, 8), [0, 2, 3]);
    records.read_ahead(&keys, None);
    records.read_ahead(&[4], None);
    assert_eq!(right(&mut records, &keys, 8), [0, 2, 3]);
}

/// In memory or in a file: tensors are of what is there now, and given away once.
#[test]
fn tensors_are_made_ahead_of_time() {
    let dir = tempfile::tempdir().expect("a folder");
    for (memory, disk) in [(80, 0), (0, 80), (16, 64)] {
        let store = store(memory, Some((dir.path(), disk)));
        let (mut records, keys) = (store.records(8), [1, 2, 3, 4]);
        records.write(&keys, &rows(&keys, 8));
        let row = |key| row(key, 0, 8);
        records.read_ahead(&[3, 9, 1, 2], Some(&lift(8)));
        assert_eq!(lifted(&mut records, &[2, 4]), None);
        assert_eq!(lifted(&mut records, &[2, 3]), Some(vec![row(2), row(3)]));
        assert_eq!(lifted(&mut records, &[2, 3]), None, "they were given away");
        assert_eq!(store.usage().ahead, 2);
        // Another row takes the place of one that is read.
        records.read_ahead(&keys, Some(&lift(8)));
        records.remove(2);
        records.write(&[5], &row(5));
        records.write(&[3], &self::row(3, 1, 8));
        assert_eq!(lifted(&mut records, &[1, 2]), None);
        assert_eq!(lifted(&mut records, &[3]), None);
        assert_eq!(lifted(&mut records, &[1, 4]), Some(vec![row(1), row(4)]));
        // Nobody took them.
        records.read_ahead(&[1, 4], Some(&lift(8)));
        records.drop_lifted();
        assert_eq!(lifted(&mut records, &[1, 4]), None);
        // What cannot be made is read; and what ends the thread ends no other.
        let panics = Lift(Arc::new(|_| panic!("a thread that ends")));
        records.read_ahead(&[1, 4], Some(&panics));
        assert_eq!(right(&mut records, &[1, 4], 8), [0, 1]);
        records.read_ahead(&[1, 4], Some(&lift(8)));
        records.read_ahead(&[1, 4], Some(&lift(8)));
        assert!(lifted(&mut records, &[1, 4]).is_some());
        let fails = Lift(Arc::new(|_| candle_core::bail!("no room")));
        records.read_ahead(&[1, 4], Some(&fails));
        assert_eq!(lifted(&mut records, &[1, 4]), None);
        assert_eq!(right(&mut records, &[1, 4], 8), [0, 1]);
    }
}

#[test]
fn no_thread_outlives_its_records() {
    let store = store(80, None);
    let mut records = store.records(8);
    records.write(&[1], &row(1, 0, 8));
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let slow = Lift(Arc::new(move |_| {
        std::thread::sleep(Duration::from_millis(100));
        flag.store(true, Ordering::SeqCst);
        Ok(Vec::new())
    }));
    records.read_ahead(&[1], Some(&slow));
    drop(records);
    assert!(ended.load(Ordering::SeqCst));
}

/// The disk is as it should be: rows that were read ahead are not read again.
#[test]
fn a_batch_that_was_read_ahead_is_not_read_again() {
    let (store, fault) = faults::store(0, 1000);
    let mut records = store.records(8);
    records.write(&[1, 2], &rows(&[1, 2], 8));
    records.read_ahead(&[2, 1], None);
    assert_eq!(right(&mut records, &[2, 1], 8), [0, 1]);
    fault.set(Fault::Read);
    assert_eq!(right(&mut records, &[2, 1], 8), [0, 1]);
    records.read_ahead(&[2, 1], None);
    assert!(right(&mut records, &[2, 1], 8).is_empty());
}
