//! The header of a safetensors file: its tensors and their positions. Everything in it is checked,
//! because a file may claim anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::bytes::checked_elements;

/// The largest header that is read; the format's own limit.
pub(super) const MAX_HEADER: u64 = 100_000_000;

/// The key of safetensors' free text.
pub(super) const METADATA: &str = "__metadata__";

/// The tensors of a file in the order of their bytes, and the free text.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    /// Reads a header; `data_len` is the number of bytes that follow it in the file. An error
    /// unless the tensors have no gaps and no overlaps and each has as many bytes as its shape
    /// says.
    pub(super) fn parse(bytes: &[u8], data_len: u64) -> Result<Self, String> {
        let mut header: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("its header: {error}"))?;
        let mut names = BTreeSet::new();
        for (name, info) in &header.tensors {
            if !names.insert(name) {
                return Err(format!("its header lists `{name}` twice"));
            }
            if checked_elements(&info.shape).is_none() {
                return Err(format!("its header gives `{name}` the absurd shape {:?}", info.shape));
            }
        }
        header.tensors.sort_by_key(|(_, info)| info.data_offsets);
        let tensors = std::mem::take(&mut header.tensors);
        let checked =
            Metadata::new(None, tensors.clone()).map_err(|error| format!("its header: {error}"))?;
        let claimed = checked.data_len() as u64;
        if claimed != data_len {
            return Err(format!("its header claims {claimed} bytes of tensors, it has {data_len}"));
        }
        header.tensors = tensors;
        Ok(header)
    }

    /// The bytes of a header, with its length in front, padded so that tensors are aligned.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut text);
        Ok(bytes)
    }

    /// The text that the header's checksum covers: every tensor's name, type, shape and position.
    pub(super) fn describe(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.tensors)
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, &self.metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

// A reader of our own, because safetensors' buffers the whole header in a tree many times its size.
impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a safetensors header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { metadata: BTreeMap::new(), tensors: Vec::new() };
                let mut metadata_seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA {
                        header.tensors.push((name, map.next_value()?));
                    } else if std::mem::replace(&mut metadata_seen, true) {
                        return Err(A::Error::duplicate_field(METADATA));
                    } else {
                        let read: Option<HashMap<String, String>> = map.next_value()?;
                        header.metadata = read.into_iter().flatten().collect();
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
