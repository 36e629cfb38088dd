//! Parameters that several leaves hold, and how they actually train under a plan.

use std::collections::HashMap;

use candle_core::TensorId;

use crate::model::{Leaf, Param, Role};
use crate::plan::LeafState;

/// For each tied parameter, the rows that hold it and its name in each.
pub(super) struct Ties<'a> {
    rows: &'a [(Leaf, LeafState)],
    holders: HashMap<TensorId, Vec<(usize, &'a Param)>>,
}

impl<'a> Ties<'a> {
    pub(super) fn of(rows: &'a [(Leaf, LeafState)]) -> Self {
        let mut holders: HashMap<TensorId, Vec<(usize, &Param)>> = HashMap::new();
        for (row, (leaf, _)) in rows.iter().enumerate() {
            for param in leaf.params.iter().filter(|param| param.role == Role::Weight) {
                holders.entry(param.id).or_default().push((row, param));
            }
        }
        holders.retain(|_, holders| holders.len() > 1);
        Self { rows, holders }
    }

    /// Another name of the same tensor, to append to its entry.
    pub(super) fn mark(&self, param: &Param) -> String {
        let holders = self.holders.get(&param.id).into_iter().flatten();
        let mut others = holders.filter(|(_, other)| other.full_name != param.full_name);
        others.next().map_or_else(String::new, |(_, other)| format!(" = {}", other.full_name))
    }

    /// The parameters that train differently from the leaf in `row`: a tied parameter trains like
    /// the last trained leaf that holds it.
    pub(super) fn exceptions(&self, row: usize) -> Vec<String> {
        let (leaf, own) = &self.rows[row];
        let exception = |param: &Param| {
            let holders = self.holders.get(&param.id)?.iter().rev();
            let mut states = holders.map(|(row, _)| &self.rows[*row]);
            let (by, state) = states.find(|(_, state)| !state.is_frozen())?;
            let name = if param.name.is_empty() { "it" } else { &param.name };
            let rate = match state {
                LeafState::Trained { lr_scale } if *lr_scale != 1.0 => format!(", lr x {lr_scale}"),
                _ => String::new(),
            };
            (param.trainable && state != own)
                .then(|| format!("but {name} trains with {}{rate}", by.path))
        };
        leaf.params.iter().filter_map(exception).collect()
    }
}
