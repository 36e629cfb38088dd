//! Which rank keeps the optimizer state of which variable.

use std::collections::HashMap;

use candle_core::TensorId;

use crate::plan::PlannedVar;

/// An owner for each variable: from the last declared to the first, the rank that owns the fewest elements so far. So the
/// shares are balanced in whatever is left when front layers freeze, and no state moves then.
pub(super) fn owners(vars: &[PlannedVar], ranks: usize) -> HashMap<TensorId, usize> {
    let mut owned = vec![0usize; ranks];
    let mut owners = HashMap::with_capacity(vars.len());
    for planned in vars.iter().rev() {
        let rank = (0..ranks).min_by_key(|&rank| owned[rank]).unwrap_or(0);
        owned[rank] += planned.var.elem_count();
        owners.insert(planned.var.id(), rank);
    }
    owners
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::plan::LeafState;

    #[test]
    fn every_suffix_is_balanced_to_the_largest_variable() {
        let sizes = [7, 100, 1, 64, 64, 3, 90, 12, 50, 50, 8];
        let var = |(i, &len): (usize, &usize)| PlannedVar {
            name: Arc::from(i.to_string()),
            leaf: Arc::from(i.to_string()),
            ties: Arc::default(),
            kind: "Linear",
            var: Var::zeros(len, DType::F32, &Device::Cpu).expect("memory"),
            state: LeafState::TRAINED,
            no_decay: false,
            frozen_state: None,
            restarts: false,
        };
        let vars: Vec<PlannedVar> = sizes.iter().enumerate().map(var).collect();
        for ranks in [1, 2, 3, 4] {
            let owners = owners(&vars, ranks);
            for front in 0..sizes.len() {
                let mut owned = vec![0; ranks];
                for planned in &vars[front..] {
                    owned[owners[&planned.var.id()]] += planned.var.elem_count();
                }
                let largest = sizes[front..].iter().max().expect("one");
                let (most, least) = (owned.iter().max(), owned.iter().min());
                assert!(
                    most.expect("one") - least.expect("one") <= *largest,
                    "{ranks} ranks, {front}: {owned:?}"
                );
            }
        }
    }
}
