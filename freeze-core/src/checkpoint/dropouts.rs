//! The generators of a model's dropouts, by the dropouts' paths.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fingerprint::{lacking, shared_otherwise};
use crate::error::{Error, Result};
use crate::model::{Freezable, Generator, inspect};
use crate::nn::DropoutState;

/// The state of each generator; a shared one under the first of its paths.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Dropouts {
    states: BTreeMap<String, DropoutState>,
    /// For shared generators, each further path with the first one.
    shared: BTreeMap<String, String>,
}

impl Dropouts {
    /// The states of a model's generators, and the generators by the same paths.
    pub(super) fn of<M: Freezable>(model: &M) -> Result<(Self, Vec<(String, Generator)>)> {
        let mut this = Self::default();
        let mut once: Vec<(String, Generator)> = Vec::new();
        for (paths, generator) in inspect::generators_once(&|mapper| model.visit_params(mapper))? {
            for path in &paths {
                if this.has(path) {
                    let why = "two dropouts have that path; rename one of the fields".into();
                    return Err(Error::Unsaved { what: format!("the dropout `{path}`"), why });
                }
                if *path == paths[0] {
                    this.states.insert(path.clone(), generator.state());
                } else {
                    this.shared.insert(path.clone(), paths[0].clone());
                }
            }
            once.extend(paths.into_iter().next().map(|first| (first, generator)));
        }
        Ok((this, once))
    }

    /// Every difference between these dropouts, from a file, and those of `model`.
    pub(super) fn differences(&self, model: &Self) -> Vec<String> {
        let missing = model.all().filter(|path| !self.has(path));
        let unexpected = self.all().filter(|path| !model.has(path));
        let mut found = lacking("the dropouts ", missing, unexpected);
        let both = |path: &&String| self.has(path) && model.has(path);
        let say = |first: Option<&String>| match first {
            Some(first) => format!("draws with `{first}`"),
            None => "draws by itself".to_string(),
        };
        found.extend(shared_otherwise(&self.shared, &model.shared, both, say));
        found
    }

    /// The state of the generator whose first path is `path`.
    pub(super) fn state(&self, path: &str) -> Option<DropoutState> {
        self.states.get(path).copied()
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.states.keys().chain(self.shared.keys())
    }

    fn has(&self, path: &str) -> bool {
        self.states.contains_key(path) || self.shared.contains_key(path)
    }
}
