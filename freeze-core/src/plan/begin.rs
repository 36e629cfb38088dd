//! The plan that a model starts with.

use std::sync::Arc;

use super::{Declared, FreezePlan, LeafState};
use crate::error::Result;

impl FreezePlan {
    /// A plan of the same leaves, all in one state.
    pub(crate) fn all(&self, state: LeafState) -> Self {
        Self { states: vec![state; self.len()], ..self.clone() }
    }

    /// A plan of the leaves at `paths`, each in the state that `state` returns for its declaration.
    pub(crate) fn of(
        paths: Arc<[String]>,
        declared: &[Declared],
        state: impl Fn(&Declared) -> LeafState,
    ) -> Result<Self> {
        let states: Vec<LeafState> = declared.iter().map(state).collect();
        states.iter().try_for_each(|state| state.check())?;
        Ok(Self { paths, always: declared.iter().map(Declared::is_always).collect(), states })
    }
}
