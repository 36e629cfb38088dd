//! The state in a checkpoint besides tensors: plain data, as JSON in the file's header.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::archive::Archive;
use super::columns::SavedMetric;
use super::dropouts::Dropouts;
use super::fingerprint::Fingerprint;
use super::header::Header;
use super::history::exact;
use super::writer::{Checksum, Checksums};
use crate::error::{Error, Result};
use crate::model::BatchNormPolicy;
use crate::plan::{FreezePlan, StatePolicy};
use crate::policy::Elapsed;

/// The format that is written, and the only one that is read.
pub(super) const FORMAT: u32 = 2;

// Keys of the header's free text.
const FORMAT_KEY: &str = "freeze.format";
const CHECKSUM_KEY: &str = "freeze.checksum";
const STATE_KEY: &str = "freeze.state";

/// Everything except tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// The library version that wrote it, for information only.
    pub(super) written_by: String,
    pub(super) layout: Fingerprint,
    pub(super) dropouts: Dropouts,
    pub(super) plan: FreezePlan,
    pub(super) base_plan: FreezePlan,
    pub(super) batch_norm: BatchNormPolicy,
    pub(super) progress: Elapsed,
    pub(super) samples: u64,
    pub(super) optimizers: Vec<SavedOptimizer>,
    /// Why leaves are in their states, by path.
    #[serde(default)]
    pub(super) why: BTreeMap<String, String>,
    /// What becomes of the optimizer state of frozen parameters.
    #[serde(default)]
    pub(super) frozen_state: Option<StatePolicy>,
    #[serde(alias = "schedule")]
    pub(super) policy: Option<SavedPolicy>,
    /// The metrics of the history; `None` if it was not saved.
    pub(super) metrics: Option<Vec<SavedMetric>>,
    /// The weights of the accumulated gradients; `None` if they were not saved.
    pub(super) gathered: Option<BTreeMap<String, Weighed>>,
    /// The checksums of all tensors in the file.
    pub(super) checksums: Checksums,
    /// The checksums of the tensors in the base; `None` if the file is complete.
    pub(super) in_base: Option<Checksums>,
    /// The base's id; `None` if the file is complete or the base is a file of weights.
    pub(super) base_id: Option<String>,
}

/// An optimizer's state without its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedOptimizer {
    pub(super) kind: String,
    #[serde(with = "exact")]
    pub(super) learning_rate: f64,
    pub(super) steps: BTreeMap<String, u64>,
}

/// A policy's description and its state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedPolicy {
    pub(super) describe: String,
    pub(super) state: serde_json::Value,
}

/// The weights of the micro-batches in a variable's accumulated gradient.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Weighed {
    #[serde(with = "exact")]
    pub(super) total: f64,
    #[serde(with = "exact")]
    pub(super) unit: f64,
}

impl State {
    /// The header's free text: format, checksum of the whole header, state.
    pub(super) fn describe(
        &self,
        header: &Header,
        checksums: &Checksums,
    ) -> Result<BTreeMap<String, String>> {
        let unsaved = |error: serde_json::Error| Error::Unsaved {
            what: "the state".into(),
            why: error.to_string(),
        };
        let text = self.text(checksums).map_err(unsaved)?;
        let checksum = checksum_of(header, &text).map_err(unsaved)?;
        Ok(BTreeMap::from([
            (FORMAT_KEY.to_string(), FORMAT.to_string()),
            (CHECKSUM_KEY.to_string(), Checksum::new(checksum).0),
            (STATE_KEY.to_string(), text),
        ]))
    }

    /// An error unless a file's header holds exactly this state.
    pub(super) fn check_written(&self, archive: &Archive) -> Result<()> {
        let unread = |error: serde_json::Error| archive.damaged(error.to_string());
        let Some(read) = Self::read(archive)? else {
            return Err(archive.damaged("it lacks the state"));
        };
        let meant = self.text(&read.checksums).map_err(unread)?;
        match read.text(&read.checksums).map_err(unread)? == meant {
            true => Ok(()),
            false => Err(archive.damaged("its state is read as another one")),
        }
    }

    fn text(&self, checksums: &Checksums) -> serde_json::Result<String> {
        serde_json::to_string(&Self { checksums: checksums.clone(), ..self.clone() })
    }

    /// The state in a file's header, after format and checksum are checked; `None` for a file of
    /// weights.
    pub(super) fn read(archive: &Archive) -> Result<Option<Self>> {
        let text = &archive.header.metadata;
        let Some(format) = text.get(FORMAT_KEY) else { return Ok(None) };
        let found = match format.parse::<u32>() {
            Ok(found) if found > 0 => found,
            _ => return Err(archive.damaged(format!("its format is `{format}`"))),
        };
        let path = || archive.path().to_string();
        match found.cmp(&FORMAT) {
            Ordering::Less => {
                return Err(Error::OlderFormat { path: path(), found, known: FORMAT });
            }
            Ordering::Equal => {}
            Ordering::Greater => {
                return Err(Error::NewerFormat { path: path(), found, known: FORMAT });
            }
        }
        let (Some(state), Some(saved)) = (text.get(STATE_KEY), text.get(CHECKSUM_KEY)) else {
            return Err(archive.damaged("its header lacks the state"));
        };
        let checksum = checksum_of(&archive.header, state)
            .map_err(|error| archive.damaged(error.to_string()))?;
        if *saved != Checksum::new(checksum).0 {
            return Err(archive.damaged("the bytes of its header have changed"));
        }
        match serde_json::from_str(state) {
            Ok(state) => Ok(Some(state)),
            Err(error) => Err(archive.damaged(format!("its state cannot be read: {error}"))),
        }
    }

    /// The checksum that a tensor of the file must have.
    pub(super) fn checksum(&self, archive: &Archive, name: &str) -> Result<u128> {
        let checksum = self.checksums.get(name).and_then(Checksum::value);
        checksum.ok_or_else(|| archive.damaged(format!("it has no checksum of `{name}`")))
    }
}

/// A checkpoint's id: the checksum of everything in it; `None` for a file of weights.
pub(super) fn id(archive: &Archive) -> Option<String> {
    archive.header.metadata.get(CHECKSUM_KEY).cloned()
}

/// Covers everything that is read from a header: the tensors' names, types, shapes and positions,
/// and the state, which in turn holds the tensors' checksums.
fn checksum_of(header: &Header, state: &str) -> serde_json::Result<u128> {
    let mut hash = XxHash3_128::new();
    hash.write(header.describe()?.as_bytes());
    hash.write(b"\n");
    hash.write(state.as_bytes());
    Ok(hash.finish_128())
}
