//! The saved form of a plan: the paths with their states, in order, and those declared `always`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{FreezePlan, LeafState};
use crate::error::{Error, Result, near};

#[derive(Serialize, Deserialize)]
pub(super) struct Leaves {
    leaves: Vec<(String, LeafState)>,
    #[serde(default)]
    always: Vec<String>,
}

impl From<FreezePlan> for Leaves {
    fn from(plan: FreezePlan) -> Self {
        let always = plan.paths.iter().zip(plan.always.iter()).filter(|(_, always)| **always);
        let always = always.map(|(path, _)| path.clone()).collect();
        Self { leaves: plan.paths.iter().cloned().zip(plan.states).collect(), always }
    }
}

impl TryFrom<Leaves> for FreezePlan {
    type Error = Error;

    fn try_from(Leaves { leaves, always: marked }: Leaves) -> Result<Self> {
        let (paths, states): (Vec<String>, Vec<LeafState>) = leaves.into_iter().unzip();
        states.iter().try_for_each(|state| state.check())?;
        let mut seen = HashSet::new();
        if let Some(path) = paths.iter().find(|path| !seen.insert(path.as_str())) {
            return Err(Error::TwoStates { path: path.clone() });
        }
        if let Some(path) = marked.iter().find(|path| !seen.contains(path.as_str())) {
            let near = near(path, paths.iter().map(String::as_str));
            return Err(Error::Path { path: path.clone(), near });
        }
        let marked: HashSet<String> = marked.into_iter().collect();
        let always = paths.iter().map(|path| marked.contains(path)).collect();
        Ok(Self { paths: paths.into(), always, states })
    }
}
