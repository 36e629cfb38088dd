//! The saved form of a plan: a list of paths with their states, in order.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{FreezePlan, LeafState};
use crate::{Error, Result};

#[derive(Serialize, Deserialize)]
pub(super) struct Leaves(Vec<(String, LeafState)>);

impl From<FreezePlan> for Leaves {
    fn from(plan: FreezePlan) -> Self {
        Self(plan.paths.iter().cloned().zip(plan.states).collect())
    }
}

impl TryFrom<Leaves> for FreezePlan {
    type Error = Error;

    fn try_from(Leaves(leaves): Leaves) -> Result<Self> {
        let (paths, states): (Vec<_>, Vec<LeafState>) = leaves.into_iter().unzip();
        states.iter().try_for_each(|state| state.check())?;
        let mut seen = HashSet::new();
        match paths.iter().find(|path| !seen.insert(path.as_str())) {
            Some(path) => Err(Error::TwoStates { path: path.clone() }),
            None => Ok(Self { paths: paths.into(), states }),
        }
    }
}
