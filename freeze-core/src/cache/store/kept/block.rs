//! Rows in a file that is only ever appended to.
//!
//! A block is a head and then its rows. The head: a mark, the number of rows, a checksum of both; a key
//! and a checksum for each row, and a checksum of those; all as 64 bits, little-endian. A file that was
//! not written to its end is therefore a beginning of a whole one.

use std::io;

use super::super::disk::{Disk, checksum};

const MARK: u64 = u64::from_le_bytes(*b"rows\r\n\x1a\0");

/// The bytes of a head beside those for each row.
pub(super) const HEAD: u64 = 32;

/// The bytes of a head for each row.
pub(super) const ENTRY: u64 = 16;

/// How a file ends.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Whole,
    /// Within a block, which a writer is about to finish or never did.
    Unfinished,
    /// With bytes that no writer left there, from this one on.
    Damaged(u64),
}

/// The head of a block of rows, with the checksum of each row.
pub(super) fn head(keys: &[u64], checksums: &[u64]) -> Vec<u8> {
    let start = words([MARK, keys.len() as u64]);
    let entries = words(keys.iter().zip(checksums).flat_map(|(key, sum)| [*key, *sum]));
    let sums = [&start, &entries].map(|part| checksum(part).to_le_bytes());
    [&start[..], &sums[0], &entries, &sums[1]].concat()
}

/// Shows the key, the place and the checksum of every row in whole blocks between `at` and `end`.
pub(super) fn read(
    disk: &dyn Disk,
    mut at: u64,
    end: u64,
    width: u64,
    see: &mut dyn FnMut(u64, u64, u64),
) -> io::Result<End> {
    while at < end {
        let mut start = [0; 24];
        let Some(left) = (end - at).checked_sub(HEAD) else { return Ok(End::Unfinished) };
        disk.read(&mut start, at)?;
        let [mark, rows, sum] = [0, 8, 16].map(|i| word(&start[i..]));
        if mark != MARK || sum != checksum(&start[..16]) {
            return Ok(End::Damaged(at));
        }
        let size = rows.checked_mul(ENTRY + width);
        let Some(size) = size.filter(|size| *size <= left) else { return Ok(End::Unfinished) };
        let mut entries = vec![0; (rows * ENTRY) as usize + 8];
        disk.read(&mut entries, at + 24)?;
        let sum = entries.split_off(entries.len() - 8);
        if word(&sum) != checksum(&entries) {
            return Ok(End::Damaged(at));
        }
        let first = at + HEAD + rows * ENTRY;
        for (i, entry) in entries.chunks_exact(ENTRY as usize).enumerate() {
            see(word(entry), first + i as u64 * width, word(&entry[8..]));
        }
        at += HEAD + size;
    }
    Ok(End::Whole)
}

fn words(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The first eight bytes.
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
