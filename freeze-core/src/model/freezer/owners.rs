//! Checks of which optimizer owns which variables.

use std::collections::HashSet;

use candle_core::TensorId;

use crate::error::{Error, Result, listed};
use crate::plan::{PlanOptimizer, PlannedVar};

/// The variables that the optimizers own. An error unless every trained variable has exactly one
/// owner, or there is no optimizer yet.
pub(crate) fn check_owners(
    vars: &[PlannedVar],
    optimizers: &mut [&mut dyn PlanOptimizer],
) -> Result<HashSet<TensorId>> {
    let mut owned: HashSet<TensorId> = HashSet::new();
    for optimizer in optimizers.iter_mut() {
        let mine: HashSet<TensorId> = optimizer.owned().into_iter().collect();
        if let Some(var) = vars.iter().find(|var| {
            let id = var.var.id();
            mine.contains(&id) && owned.contains(&id)
        }) {
            return Err(Error::Optimizer {
                optimizer: optimizer.kind(),
                name: var.name.to_string(),
                why: "another of the optimizers owns it too; give each variable to one".into(),
            });
        }
        owned.extend(mine);
    }
    let unowned = |var: &&PlannedVar| !var.state.is_frozen() && !owned.contains(&var.var.id());
    match (optimizers.is_empty(), listed(vars.iter().filter(unowned).map(|var| &var.name))) {
        (false, names) if !names.is_empty() => Err(Error::Unowned { names }),
        _ => Ok(owned),
    }
}

/// An error if a variable in `known` changes and is not in `owned`. Its optimizer would keep the
/// state of what froze, or leave untrained what thawed.
pub(super) fn check_known(
    known: &HashSet<TensorId>,
    owned: &HashSet<TensorId>,
    before: &[PlannedVar],
    after: &[PlannedVar],
) -> Result<()> {
    let left_out = |(before, after): &(&PlannedVar, &PlannedVar)| {
        let id = after.var.id();
        before.state != after.state && known.contains(&id) && !owned.contains(&id)
    };
    match listed(before.iter().zip(after).filter(left_out).map(|(_, var)| &var.name)) {
        names if names.is_empty() => Ok(()),
        names => Err(Error::LeftOut { names }),
    }
}
