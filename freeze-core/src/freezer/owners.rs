//! Which optimizer owns what.

use std::collections::HashSet;

use candle_core::TensorId;

use crate::{Error, LeafState, PlanOptimizer, PlannedVar, Result};

/// Every trained variable has exactly one owner, unless there is no optimizer yet.
pub(crate) fn check_owners(
    vars: &[PlannedVar],
    optimizers: &mut [&mut dyn PlanOptimizer],
) -> Result<()> {
    let mut owned: HashSet<TensorId> = HashSet::new();
    for optimizer in optimizers.iter_mut() {
        let mine: HashSet<TensorId> = optimizer.owned().into_iter().collect();
        if let Some(var) = vars.iter().find(|var| {
            let id = var.var.id();
            mine.contains(&id) && owned.contains(&id)
        }) {
            return Err(Error::Optimizer {
                optimizer: optimizer.kind(),
                name: var.name.clone(),
                why: "another of the optimizers owns it too; give each variable to one".into(),
            });
        }
        owned.extend(mine);
    }
    let unowned =
        |var: &&PlannedVar| var.state != LeafState::Frozen && !owned.contains(&var.var.id());
    let names: Vec<String> =
        vars.iter().filter(unowned).map(|var| format!("`{}`", var.name)).collect();
    match (optimizers.is_empty(), names.is_empty()) {
        (true, _) | (_, true) => Ok(()),
        _ => Err(Error::Unowned { names: names.join(", ") }),
    }
}
