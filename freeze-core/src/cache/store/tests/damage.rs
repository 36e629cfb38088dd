//! Files of kept rows that are cut off, changed, or not ours.

use std::fs;
use std::path::{Path, PathBuf};

use super::kept::{WIDTH, files, identity, open, write};
use super::{right, store};
use crate::cache::store::Identity;

const KEYS: [u64; 5] = [10, 11, 12, 13, 14];

/// A folder with one file of two blocks, of two rows and of three.
fn kept() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut records = open(dir.path());
    write(&mut records, &KEYS[..2]);
    write(&mut records, &KEYS[2..]);
    drop(records);
    let path = files(dir.path()).remove(0);
    let bytes = fs::read(&path).expect("the file");
    (dir, path, bytes)
}

/// The rows that are found, all of which are right; and after what is lacking was written anew,
/// all are found.
fn found(dir: &Path) -> usize {
    let mut records = open(dir);
    let found = right(&mut records, &KEYS, WIDTH);
    assert_eq!(records.len(), found.len());
    let lacking: Vec<u64> = KEYS.into_iter().filter(|key| !records.contains(*key)).collect();
    write(&mut records, &lacking);
    drop(records);
    let mut again = open(dir);
    assert_eq!(right(&mut again, &KEYS, WIDTH).len(), KEYS.len());
    found.len()
}

/// A folder again as it was, but for the bytes of its one file.
fn reset(path: &Path, bytes: &[u8]) {
    for file in files(path.parent().and_then(Path::parent).expect("a folder")) {
        fs::remove_file(file).expect("a file");
    }
    fs::write(path, bytes).expect("a file");
}

#[test]
fn a_file_of_any_length_is_used_up_to_its_last_whole_block() {
    let (dir, path, bytes) = kept();
    let header = bytes.iter().rposition(|&byte| byte == b'\n').expect("a header");
    let header = bytes[..=header].windows(4).position(|four| four == b"rows").unwrap_or(header + 1);
    let first = header + 32 + 2 * (16 + WIDTH);
    for len in 0..=bytes.len() {
        reset(&path, &bytes[..len]);
        let expected = if len == bytes.len() {
            5
        } else if len >= first {
            2
        } else {
            0
        };
        assert_eq!(found(dir.path()), expected, "{len} of {}", bytes.len());
    }
}

/// Every byte, by one bit, by all, and to nothing.
#[test]
fn no_changed_byte_gives_a_wrong_row() {
    let (dir, path, bytes) = kept();
    for at in 0..bytes.len() {
        for changed in [bytes[at] ^ 1 << (at % 8), !bytes[at], 0] {
            let mut damaged = bytes.clone();
            damaged[at] = changed;
            reset(&path, &damaged);
            let found = found(dir.path());
            assert!(found < KEYS.len() || changed == bytes[at], "byte {at} to {changed}");
        }
    }
}

#[test]
fn bytes_that_were_never_written_are_refused() {
    let (dir, path, bytes) = kept();
    for more in [vec![0; 1], vec![0; 4096], vec![0xff; 100], bytes.clone()] {
        reset(&path, &[&bytes[..], &more].concat());
        assert_eq!(found(dir.path()), 5);
    }
    for all in [vec![], vec![0; 4096], b"{}\n".to_vec(), vec![b'\n'; 100], vec![0xff; 3000]] {
        reset(&path, &all);
        assert_eq!(found(dir.path()), 0);
    }
    // A head that claims more rows than there can be.
    let header = bytes.windows(4).position(|four| four == b"rows").expect("a block");
    for claim in [u64::MAX, u64::MAX / 24, 1 << 40, 3] {
        let start = [&bytes[header..header + 8], &claim.to_le_bytes()].concat();
        let sum = super::super::disk::checksum(&start).to_le_bytes();
        let mut claims = bytes.clone();
        claims[header..header + 24].copy_from_slice(&[&start[..], &sum].concat());
        reset(&path, &claims);
        assert_eq!(found(dir.path()), 0);
    }
}

/// A file of another front in this one's folder stays where it is, a damaged one goes.
#[test]
fn what_is_not_ours_is_left_alone() {
    let (dir, path, bytes) = kept();
    let other = Identity { data: "mnist 2".into(), ..identity() };
    let mut records = store(0, Some((dir.path(), 1 << 20))).kept(WIDTH, &other).expect("records");
    write(&mut records, &[10]);
    drop(records);
    let foreign = files(dir.path()).into_iter().find(|file| *file != path).expect("another");
    let copy = path.with_file_name("copied.rows");
    fs::copy(&foreign, &copy).expect("a copy");
    let damaged = path.with_file_name("damaged.rows");
    fs::write(&damaged, [b"[", &bytes[1..]].concat()).expect("a file");
    fs::create_dir(path.with_file_name("folder.rows")).expect("a folder");
    assert_eq!(right(&mut open(dir.path()), &KEYS, WIDTH).len(), 5);
    assert!(copy.exists() && path.exists() && !damaged.exists());
}
