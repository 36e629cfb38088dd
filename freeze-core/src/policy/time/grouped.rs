//! The blocks of the model at hand, and its leaves that a policy may freeze.

use std::sync::Arc;

use crate::error::Result;
use crate::plan::{FreezePlan, LeafState};
use crate::policy::{Blocks, By, Decision, Reason};

/// The blocks of a model. They are found once for each list of paths, since policies may act after
/// every step.
#[derive(Clone, Debug)]
pub(super) struct Grouped {
    by: By,
    found: Option<(Vec<String>, Arc<Blocks>)>,
}

impl Grouped {
    pub(super) fn new(by: By) -> Self {
        Self { by, found: None }
    }

    /// The blocks of the plan's leaves.
    ///
    /// # Errors
    ///
    /// As [`Blocks::of`].
    pub(super) fn of(&mut self, plan: &FreezePlan) -> Result<Arc<Blocks>> {
        if let Some((paths, blocks)) = &self.found
            && paths == plan.paths()
        {
            return Ok(Arc::clone(blocks));
        }
        let blocks = Arc::new(Blocks::of(plan.paths(), &self.by)?);
        self.found = Some((plan.paths().to_vec(), Arc::clone(&blocks)));
        Ok(blocks)
    }
}

/// Freezes a leaf and says why, unless it is declared `always`.
///
/// # Errors
///
/// There is no such leaf.
pub(super) fn freeze(decision: &mut Decision, leaf: usize, why: &str) -> Result<()> {
    if !decision.plan.is_always(leaf) {
        decision.plan.set(leaf, LeafState::Frozen)?;
        explain(decision, leaf, why);
    }
    Ok(())
}

/// Says why a leaf is as it is.
pub(super) fn explain(decision: &mut Decision, leaf: usize, why: &str) {
    let path = decision.plan.paths().get(leaf).cloned();
    decision.why.extend(path.map(|leaf| Reason { leaf, text: why.into() }));
}
