//! The blocks of a file of rows, which is only appended to.
//!
//! A block is a head followed by its rows. The head has a mark, the number of rows and a checksum of both;
//! then the key and the checksum of each row, and a checksum of these. Every item is 64 bits,
//! little-endian. Since blocks are written in order, a process that is killed leaves the beginning of a
//! valid file.

use std::io;

use super::super::disk::{Disk, checksum};

const MARK: u64 = u64::from_le_bytes(*b"rows\r\n\x1a\0");

/// The fixed bytes of a head.
pub(super) const HEAD: u64 = 32;

/// The bytes of a head per row.
pub(super) const ENTRY: u64 = 16;

/// How a file ends.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Whole,
    /// In the middle of a block: a process is still writing it, or was killed.
    Unfinished,
    /// With damaged bytes from this offset on.
    Damaged(u64),
}

/// The head of a block of rows with these keys and checksums.
pub(super) fn head(keys: &[u64], checksums: &[u64]) -> Vec<u8> {
    let start = words([MARK, keys.len() as u64]);
    let entries = words(keys.iter().zip(checksums).flat_map(|(key, sum)| [*key, *sum]));
    let sums = [&start, &entries].map(|part| checksum(part).to_le_bytes());
    [&start[..], &sums[0], &entries, &sums[1]].concat()
}

/// Calls `see` with the key, the offset and the checksum of each row of the complete blocks between the
/// offsets `at` and `end`.
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

/// The first eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
