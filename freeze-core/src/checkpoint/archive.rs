//! Reads a safetensors file: bounded, checked, one tensor at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorInfo;
use twox_hash::XxHash3_128;

use super::header::{Header, MAX_HEADER};
use crate::error::{Error, Result, file_error};

/// An open file whose header has been read and agrees with the file's length.
pub(super) struct Archive {
    path: String,
    file: File,
    data_start: u64,
    pub(super) header: Header,
    infos: BTreeMap<String, TensorInfo>,
}

impl Archive {
    /// Opens a file and reads its header. A header that claims to be longer than the file, or than
    /// the format allows, is refused before memory is allocated for it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let fault = |source| file_error(path, "read", source);
        // Checked before opening, because opening a pipe waits for a writer.
        if !std::fs::metadata(path).map_err(fault)?.is_file() {
            return Err(fault(std::io::Error::other("it is not a file")));
        }
        let mut file = File::open(path).map_err(fault)?;
        let len = file.metadata().map_err(fault)?.len();
        let path = path.display().to_string();
        let damaged = |why: String| Error::Damaged { path: path.clone(), why };
        if len < 8 {
            return Err(damaged(format!("it has {len} bytes, too few for a header")));
        }
        let mut word = [0; 8];
        file.read_exact(&mut word).map_err(fault_at(&path))?;
        let claimed = u64::from_le_bytes(word);
        if claimed > (len - 8).min(MAX_HEADER) {
            return Err(damaged(format!(
                "its header claims {claimed} bytes, the file has {} left and a header may have \
                 {MAX_HEADER}, so it is no safetensors file or not all of one",
                len - 8
            )));
        }
        let data_start = 8 + claimed;
        let header = read_bytes(&mut file, claimed).map_err(fault_at(&path))?;
        let header = Header::parse(&header, len - data_start).map_err(damaged)?;
        let infos = header.tensors.iter().cloned().collect();
        Ok(Self { path, file, data_start, header, infos })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), why: why.into() }
    }

    pub(super) fn misfit(&self, why: impl Into<String>) -> Error {
        Error::Misfit { path: self.path.clone(), why: why.into() }
    }

    /// Shape and type of a tensor; the type is `None` if candle does not have it.
    pub(super) fn info(&self, name: &str) -> Option<(&[usize], Option<DType>)> {
        let info = self.infos.get(name)?;
        Some((&info.shape, DType::try_from(info.dtype).ok()))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.infos.keys().map(String::as_str)
    }

    /// The checksum of a tensor's bytes in the file.
    pub(super) fn checksum(&mut self, name: &str) -> Result<u128> {
        self.bytes(name).map(|bytes| XxHash3_128::oneshot(&bytes))
    }

    /// Reads a tensor into host memory; an error if `expected` is given and its checksum differs.
    pub(super) fn tensor(&mut self, name: &str, expected: Option<u128>) -> Result<Tensor> {
        let bytes = self.bytes(name)?;
        if expected.is_some_and(|expected| expected != XxHash3_128::oneshot(&bytes)) {
            return Err(self.damaged(format!("the bytes of `{name}` have changed")));
        }
        let Some((shape, Some(dtype))) = self.info(name) else {
            return Err(self.damaged(format!("`{name}` is of a type that candle does not have")));
        };
        Ok(Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)?)
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        let Some(info) = self.infos.get(name) else {
            return Err(self.damaged(format!("it lacks the tensor `{name}`")));
        };
        let (start, end) = info.data_offsets;
        let from = SeekFrom::Start(self.data_start + start as u64);
        self.file.seek(from).map_err(fault_at(&self.path))?;
        read_bytes(&mut self.file, (end - start) as u64).map_err(fault_at(&self.path))
    }
}

/// Reads `len` bytes; the caller has checked that the file has them.
fn read_bytes(file: &mut File, len: u64) -> std::io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(std::io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(std::io::Error::other)?;
    bytes.resize(len, 0);
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn fault_at(path: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::File { path: path.to_string(), doing: "read", source }
}
