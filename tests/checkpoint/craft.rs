//! Files that say what they like: a header taken apart, changed, and put together with checksums
//! that agree.

use std::collections::BTreeMap;

use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};
use twox_hash::XxHash3_128;

/// A safetensors file in two halves.
#[derive(Clone)]
pub struct Parts {
    pub header: Map<String, Value>,
    pub data: Vec<u8>,
}

impl Parts {
    pub fn of(file: &[u8]) -> Self {
        let end = 8 + u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
        let header = serde_json::from_slice(&file[8..end]).expect("a header");
        Self { header, data: file[end..].to_vec() }
    }

    pub fn state(&self) -> Value {
        let text = self.header["__metadata__"]["freeze.state"].as_str().expect("a state");
        serde_json::from_str(text).expect("a state")
    }

    pub fn set(&mut self, key: &str, text: String) {
        self.header["__metadata__"][key] = Value::String(text);
    }

    /// Puts a state into the header and gives the header the checksum that it needs.
    pub fn seal(&mut self, state: &Value) {
        self.set("freeze.state", state.to_string());
        let mut tensors: Vec<(String, TensorInfo)> = Vec::new();
        for (name, info) in self.header.iter().filter(|(name, _)| *name != "__metadata__") {
            // What is no tensor at all needs no checksum either.
            let Ok(info) = serde_json::from_value(info.clone()) else { continue };
            tensors.push((name.clone(), info));
        }
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let described = serde_json::to_string(&tensors).expect("text");
        let text = format!("{described}\n{state}");
        self.set("freeze.checksum", format!("{:032x}", XxHash3_128::oneshot(text.as_bytes())));
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        file(&serde_json::to_vec(&self.header).expect("text"), &self.data)
    }
}

/// A file of any header and any bytes behind it.
pub fn file(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(data);
    bytes
}

/// A file without tensors whose free text is what a checkpoint's is, with this state.
pub fn state_alone(state: &str) -> Vec<u8> {
    let checksum = XxHash3_128::oneshot(format!("[]\n{state}").as_bytes());
    let text = BTreeMap::from([
        ("freeze.format", "2".to_string()),
        ("freeze.checksum", format!("{checksum:032x}")),
        ("freeze.state", state.to_string()),
    ]);
    let header = BTreeMap::from([("__metadata__", text)]);
    file(&serde_json::to_vec(&header).expect("text"), &[])
}
