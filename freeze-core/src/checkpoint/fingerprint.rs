//! The names, shapes and ties of a model's tensors.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{Tensor, TensorId};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, listed, several};

/// Names, shapes and types of a model's tensors; each tied one under the first of its names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    tensors: BTreeMap<String, (Vec<usize>, String)>,
    /// For tied tensors, each further name with the first one.
    ties: BTreeMap<String, String>,
}

impl Fingerprint {
    /// The fingerprint of named tensors, and each tensor once, with the first of its names.
    pub(super) fn of(named: Vec<(String, Tensor)>) -> Result<(Self, Vec<(String, Tensor)>)> {
        let mut this = Self { tensors: BTreeMap::new(), ties: BTreeMap::new() };
        let mut first: HashMap<TensorId, String> = HashMap::new();
        let mut once = Vec::new();
        for (name, tensor) in named {
            if this.tensors.contains_key(&name) || this.ties.contains_key(&name) {
                let why = "two tensors have that name; rename one of the fields".into();
                return Err(Error::Unsaved { what: format!("`{name}`"), why });
            }
            match first.get(&tensor.id()) {
                Some(first) => drop(this.ties.insert(name, first.clone())),
                None => {
                    first.insert(tensor.id(), name.clone());
                    let described = (tensor.dims().to_vec(), tensor.dtype().as_str().to_string());
                    this.tensors.insert(name.clone(), described);
                    once.push((name, tensor));
                }
            }
        }
        Ok((this, once))
    }

    /// Every difference between this fingerprint, from a file, and that of `model`.
    pub(super) fn differences(&self, model: &Self) -> Vec<String> {
        let missing = model.all().filter(|name| !self.has(name));
        let unexpected = self.all().filter(|name| !model.has(name));
        let mut found = lacking("", missing, unexpected);
        let misshaped = self.tensors.iter().filter_map(|(name, (theirs, their_type))| {
            let (ours, our_type) = model.tensors.get(name)?;
            ((theirs, their_type) != (ours, our_type)).then(|| {
                format!(
                    "`{name}` is {theirs:?} of {their_type} in the file and {ours:?} of {our_type} \
                     in the model"
                )
            })
        });
        found.extend(Some(several(misshaped, "; ")).filter(|all| !all.is_empty()));
        let both = |name: &&String| self.has(name) && model.has(name);
        let say = |first: Option<&String>| match first {
            Some(first) => format!("is tied to `{first}`"),
            None => "stands alone".to_string(),
        };
        let tied = several(shared_otherwise(&self.ties, &model.ties, both, say), "; ");
        found.extend(Some(tied).filter(|all| !all.is_empty()));
        found
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.tensors.keys().chain(self.ties.keys())
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.ties.contains_key(name)
    }
}

/// The names that the file lacks, and those that the model lacks, as sentences that begin with
/// `what` they are.
pub(super) fn lacking<'a>(
    what: &str,
    missing: impl Iterator<Item = &'a String>,
    unexpected: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let sides = [("file", listed(missing)), ("model", listed(unexpected))];
    let lacking = sides.into_iter().filter(|(_, names)| !names.is_empty());
    lacking.map(|(side, names)| format!("the {side} lacks {what}{names}")).collect()
}

/// Each name, among those that `both` have, that is tied to a different first name in the file than
/// in the model.
pub(super) fn shared_otherwise<'a>(
    theirs: &'a BTreeMap<String, String>,
    ours: &'a BTreeMap<String, String>,
    both: impl Fn(&&String) -> bool,
    say: impl Fn(Option<&String>) -> String,
) -> Vec<String> {
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).filter(both).collect();
    let differs = |name: &&String| theirs.get(*name) != ours.get(*name);
    let line = |name: &String| {
        let [theirs, ours] = [theirs, ours].map(|shared| say(shared.get(name)));
        format!("`{name}` {theirs} in the file and {ours} in the model")
    };
    names.into_iter().filter(differs).map(line).collect()
}
