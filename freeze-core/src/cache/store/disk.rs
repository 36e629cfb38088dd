//! Files that are read and written at offsets.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use twox_hash::XxHash3_128;

/// A file that several threads read and write at offsets.
///
/// It is not memory-mapped: a write to a mapping on a full disk is a signal, here it is an error.
/// The system's page cache serves reads as fast as those of a mapping.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()>;
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;
}

/// The offset of a row in its file, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnDisk {
    pub(super) file: u32,
    pub(super) at: u64,
    pub(super) checksum: u64,
}

/// A file without a name: it is gone when the process ends, however it ends.
pub(super) fn unnamed(folder: &Path) -> io::Result<Arc<dyn Disk>> {
    Ok(Arc::new(tempfile::tempfile_in(folder)?))
}

/// Half of XXH3's 128 bits.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_128::oneshot(bytes) as u64
}

/// Reads a row into `out`; an error if its checksum does not match.
pub(super) fn read_row(disk: &dyn Disk, out: &mut [u8], row: OnDisk) -> io::Result<()> {
    disk.read(out, row.at)?;
    match checksum(out) == row.checksum {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "a row's checksum is wrong")),
    }
}

#[cfg(unix)]
impl Disk for File {
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, out, at)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }
}

#[cfg(windows)]
impl Disk for File {
    fn read(&self, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
        while !out.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(self, out, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => (out, at) = (&mut out[read..], at + read as u64),
            }
        }
        Ok(())
    }

    fn write(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(self, bytes, at)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => (bytes, at) = (&bytes[written..], at + written as u64),
            }
        }
        Ok(())
    }
}
