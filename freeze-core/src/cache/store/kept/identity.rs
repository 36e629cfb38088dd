//! What must be equal for a run to use the rows of another.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::model::FlowLayout;

/// The version of the file format.
const FORMAT: u32 = 2;

/// What must be equal for a run to use the rows of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cache) struct Identity {
    /// The model's type.
    pub(in crate::cache) model: String,
    /// The path of the stage that takes the rows as input.
    pub(in crate::cache) stage: String,
    /// A fingerprint of everything in front of that stage: weights, buffers, settings.
    pub(in crate::cache) front: String,
    /// The layout of one sample.
    pub(in crate::cache) layout: FlowLayout,
    /// The precision that numbers are stored in.
    pub(in crate::cache) precision: String,
    /// The user's version of the data and its preprocessing.
    pub(in crate::cache) data: String,
}

/// The beginning of every file, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: u32,
    /// The version of this crate, since its kernels may change the last bit.
    version: String,
    /// Of the numbers in the rows.
    byte_order: String,
    width: usize,
    #[serde(flatten)]
    pub(super) identity: Identity,
}

impl Header {
    pub(super) fn new(identity: &Identity, width: usize) -> Self {
        let byte_order = if cfg!(target_endian = "little") { "little" } else { "big" };
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            byte_order: byte_order.into(),
            width,
            identity: identity.clone(),
        }
    }

    /// A line of JSON, and a line with its checksum.
    pub(super) fn to_text(&self) -> serde_json::Result<String> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{json}\n{}\n", hash(&json)))
    }
}

/// The name of the folder for files with this header.
pub(super) fn name(header: &str) -> String {
    hash(header)
}

/// Why a file that begins with `found` does not have the header `header`.
pub(super) fn difference(found: &[u8], header: &str) -> Unfit {
    let mut lines = found.split(|byte| *byte == b'\n');
    let (json, check) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Some(theirs) = std::str::from_utf8(json).ok().filter(|json| hash(json).as_bytes() == check)
    else {
        return Unfit::Damaged;
    };
    let fields = |json: &str| serde_json::from_str(json).unwrap_or_default();
    let theirs: serde_json::Map<String, serde_json::Value> = fields(theirs);
    let ours: serde_json::Map<String, serde_json::Value> =
        fields(header.lines().next().unwrap_or_default());
    let differs = |name: &&String| theirs.get(*name) != ours.get(*name);
    Unfit::Foreign(ours.keys().filter(differs).cloned().collect())
}

/// Why a file cannot be used.
#[derive(Debug, PartialEq)]
pub(super) enum Unfit {
    /// The checksum of its header does not match.
    Damaged,
    /// It belongs to another front; these fields of the header differ.
    Foreign(Vec<String>),
}

fn hash(text: &str) -> String {
    format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()))
}
