//! What a plan begins as.

use std::sync::Arc;

use super::{Declared, FreezePlan, LeafState};
use crate::error::Result;

impl FreezePlan {
    /// The same leaves, all in one state.
    pub(crate) fn all(&self, state: LeafState) -> Self {
        Self { states: vec![state; self.len()], ..self.clone() }
    }

    /// The leaves at `paths`, each in the state that `state` makes of its declaration.
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
