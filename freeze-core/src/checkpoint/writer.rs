//! Writes a safetensors file in one pass, with a checksum of every tensor in its header.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use candle_core::Tensor;
use safetensors::tensor::{Dtype, TensorInfo};
use twox_hash::XxHash3_128;

use super::archive::Archive;
use super::atomic::replace;
use super::bytes::each_chunk;
use super::header::{Header, MAX_HEADER, METADATA};
use crate::error::{Error, Result, file_error};
use crate::kernel::bytes_of;

/// The checksums of a file's tensors by name; all have the same length in the header.
pub(super) type Checksums = BTreeMap<String, Checksum>;

/// The 128-bit XXH3 of a tensor's bytes, as 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Checksum(pub(super) String);

impl Checksum {
    pub(super) fn new(value: u128) -> Self {
        Self(format!("{value:032x}"))
    }

    /// The number; `None` if the text is not a number.
    pub(super) fn value(&self) -> Option<u128> {
        u128::from_str_radix(&self.0, 16).ok()
    }
}

/// Makes the free text of a header.
pub(super) type Describe<'a> = dyn Fn(&Header, &Checksums) -> Result<BTreeMap<String, String>> + 'a;

/// Checks the written file.
pub(super) type Check<'a> = dyn Fn(&Archive) -> Result<()> + 'a;

/// Replaces `path` by a file of `tensors`. `describe` makes the header's free text from the
/// checksums; its length must not depend on them. If the new file cannot be read back, or `check`
/// refuses it, `path` is not replaced.
pub(super) fn write(
    path: &Path,
    tensors: &[(String, Tensor)],
    describe: &Describe<'_>,
    check: &Check<'_>,
) -> Result<()> {
    if tensors.iter().any(|(name, _)| name == METADATA) {
        let why = "safetensors keeps free text under that name; rename the field".into();
        return Err(Error::Unsaved { what: format!("`{METADATA}`"), why });
    }
    let mut order: Vec<&(String, Tensor)> = tensors.iter().collect();
    let key = |(name, tensor): &(String, Tensor)| (Dtype::from(tensor.dtype()), name.clone());
    // The widest types first, so that all are aligned.
    order.sort_by_cached_key(|entry| {
        let (dtype, name) = key(entry);
        (std::cmp::Reverse(dtype), name)
    });
    let mut header = Header { metadata: BTreeMap::new(), tensors: infos(&order) };
    let unknown = order.iter().map(|(name, _)| (name.clone(), Checksum::new(0))).collect();
    let encode = |header: &mut Header, checksums: &Checksums| -> Result<Vec<u8>> {
        header.metadata = describe(header, checksums)?;
        header.to_bytes().map_err(|error| unsaved(error.to_string()))
    };
    let start = encode(&mut header, &unknown)?;
    if start.len() as u64 - 8 > MAX_HEADER {
        return Err(unsaved(format!("its header would be longer than {MAX_HEADER} bytes")));
    }
    let fill = |out: &mut BufWriter<&File>| {
        put(path, out, &start)?;
        let mut checksums = Checksums::new();
        for (name, tensor) in order {
            let mut hash = XxHash3_128::new();
            each_chunk(tensor, &mut |bytes| {
                hash.write(bytes);
                put(path, out, bytes)
            })?;
            checksums.insert(name.clone(), Checksum::new(hash.finish_128()));
        }
        let last = encode(&mut header, &checksums)?;
        if last.len() != start.len() {
            return Err(unsaved("its header changed while it was written".into()));
        }
        out.seek(SeekFrom::Start(0)).map_err(|source| file_error(path, "write", source))?;
        put(path, out, &last)
    };
    replace(path, fill, |written| match Archive::open(written).and_then(|file| check(&file)) {
        Err(Error::Damaged { why, .. }) => Err(unsaved(format!("it cannot be read back: {why}"))),
        checked => checked,
    })
}

fn infos(order: &[&(String, Tensor)]) -> Vec<(String, TensorInfo)> {
    let mut end = 0;
    let info = |(name, tensor): &&(String, Tensor)| {
        let start = end;
        end += bytes_of(tensor);
        let (dtype, shape) = (tensor.dtype().into(), tensor.dims().to_vec());
        (name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    order.iter().map(info).collect()
}

fn put(path: &Path, out: &mut BufWriter<&File>, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(|source| file_error(path, "write", source))
}

fn unsaved(why: String) -> Error {
    Error::Unsaved { what: "the file".into(), why }
}
