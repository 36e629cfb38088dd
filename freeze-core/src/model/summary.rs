//! A printable table of a model's leaves.

mod coloured;
mod ties;

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};

use crate::model::{Leaf, Role};
use crate::plan::LeafState;
use ties::Ties;

/// A table of leaves: kind, shapes, number of parameters, trained or frozen, and the totals. A tied
/// parameter is shown with another of its names, and if it trains differently from its leaf, the
/// row says which leaf decides. A last column says why leaves are in their states, if a policy gave
/// reasons.
///
/// `println!("{}", model.summary()?)`; for a model under a plan, [`Freezer::summary`](crate::Freezer::summary).
#[derive(Clone, Debug)]
pub struct Summary {
    rows: Vec<(Leaf, LeafState)>,
    /// Why leaves are in their states, by path.
    why: BTreeMap<String, String>,
}

impl Summary {
    /// `states` has one state per leaf, in order.
    pub(crate) fn new(leaves: Vec<Leaf>, states: &[LeafState]) -> Self {
        let rows = leaves.into_iter().zip(states.iter().copied()).collect();
        Self { rows, why: BTreeMap::new() }
    }

    /// Adds why leaves are in their states, by path.
    pub(crate) fn because(self, why: &BTreeMap<String, String>) -> Self {
        Self { why: why.clone(), ..self }
    }

    /// The number of parameters (elements) in all leaves; a tied one counts once.
    pub fn total(&self) -> usize {
        self.count(|_, _| true)
    }

    /// The number of parameters (elements) that train under the plan.
    pub fn trained(&self) -> usize {
        self.count(|trainable, state| trainable && !state.is_frozen())
    }

    fn count(&self, keep: impl Fn(bool, LeafState) -> bool) -> usize {
        let mut seen = std::collections::HashSet::new();
        let params =
            self.rows.iter().flat_map(|(leaf, state)| leaf.params.iter().map(move |p| (p, *state)));
        params
            .filter(|(param, _)| param.role == Role::Weight)
            .filter(|(param, state)| keep(param.trainable, *state) && seen.insert(&param.elements))
            .map(|(param, _)| param.shape.elem_count())
            .sum()
    }
}

fn always(leaf: &Leaf) -> &'static str {
    if leaf.declared.is_always() { ", always" } else { "" }
}

/// Names the leaf's parameters that have no weight decay.
fn spared(leaf: &Leaf) -> String {
    let weights = || leaf.params.iter().filter(|param| param.role == Role::Weight);
    let names: Vec<&str> =
        weights().filter(|param| param.no_decay).map(|param| param.name.as_str()).collect();
    match names.len() {
        0 => String::new(),
        n if n == weights().count() => ", no decay".to_string(),
        _ => format!(", no decay of {}", names.join(", ")),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        let why = (!self.why.is_empty()).then_some("why");
        let header = ["#", "leaf", "kind", "shapes", "parameters", "state"];
        table.set_header(header.into_iter().chain(why));
        let ties = Ties::of(&self.rows);
        for (row, (leaf, state)) in self.rows.iter().enumerate() {
            let shapes: Vec<String> = leaf
                .params
                .iter()
                .map(|param| {
                    let shape = format!("{} {:?}", param.name, param.shape.dims());
                    format!("{}{}", shape.trim_start(), ties.mark(param))
                })
                .collect();
            let own = match state {
                LeafState::Frozen => "frozen".to_string(),
                _ if !leaf.is_trainable() => "no variables".to_string(),
                LeafState::Trained { lr_scale } if *lr_scale == 1.0 => "trained".to_string(),
                LeafState::Trained { lr_scale } => format!("trained, lr x {lr_scale}"),
            };
            let own = format!("{own}{}{}", always(leaf), spared(leaf));
            let state = [vec![own], ties.exceptions(row)].concat().join("\n");
            let row = [
                leaf.index.to_string(),
                leaf.path.clone(),
                leaf.kind.to_string(),
                shapes.join("\n"),
                leaf.elements().to_string(),
                state,
            ];
            let why = why.map(|_| self.why.get(&leaf.path).cloned().unwrap_or_default());
            table.add_row(row.into_iter().chain(why));
        }
        for column in [0, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        let (total, trained) = (self.total(), self.trained());
        write!(
            f,
            "{} leaves, {total} parameters: {trained} trained, {} not",
            self.rows.len(),
            total - trained
        )
    }
}
