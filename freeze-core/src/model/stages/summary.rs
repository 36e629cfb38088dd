//! A printable table of a model's stages.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};

use super::{Stages, frozen_front};
use crate::error::Result;
use crate::model::{Freezer, Leaf};
use crate::plan::LeafState;

/// A table of stages: leaves, parameters, how many of them train, and where the frozen front ends.
///
/// Made by [`Freezer::stage_summary`].
#[derive(Clone, Debug)]
pub struct StageSummary {
    stages: Vec<Row>,
    frozen: usize,
}

#[derive(Clone, Debug, Default)]
struct Row {
    path: String,
    leaves: usize,
    trained_leaves: usize,
    parameters: usize,
    trained: usize,
}

impl<M: Stages> Freezer<M> {
    /// A printable table of the whole model's stages under the plan. A tied parameter counts in every
    /// stage that has it.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::{Linear, VarBuilder, VarMap, linear};
    /// use freeze_core::{Freezable, Freezer};
    ///
    /// #[derive(Freezable)]
    /// #[freeze(stages)]
    /// struct Net {
    ///     body: Vec<Linear>,
    ///     head: Linear,
    /// }
    ///
    /// let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// let body = vec![linear(2, 2, vb.pp("a"))?, linear(2, 2, vb.pp("b"))?];
    /// let mut net = Freezer::new(Net { body, head: linear(2, 1, vb.pp("c"))? })?;
    /// net.freeze_front(1, &mut [])?;
    /// let summary = net.stage_summary()?;
    /// assert_eq!(summary.frozen_front(), 1);
    /// println!("{summary}");
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt.
    pub fn stage_summary(&self) -> Result<StageSummary> {
        let (model, leaves, states) = (self.whole(), self.leaves()?, self.plan().states());
        let stages = model.stages();
        let row = |stage: &M::Stage| {
            let inside = model.stage_leaves(*stage)?;
            Ok(Row::of(stage.to_string(), &leaves[inside.clone()], &states[inside]))
        };
        let frozen = frozen_front(model, &stages, self.plan())?;
        Ok(StageSummary { stages: stages.iter().map(row).collect::<Result<_>>()?, frozen })
    }
}

impl StageSummary {
    /// The number of stages in front of the first that moves: their forward is the same at every step.
    pub fn frozen_front(&self) -> usize {
        self.frozen
    }
}

impl Row {
    fn of(path: String, leaves: &[Leaf], states: &[LeafState]) -> Self {
        let mut row = Self { path, leaves: leaves.len(), ..Self::default() };
        for (leaf, state) in leaves.iter().zip(states) {
            row.parameters += leaf.elements();
            if !state.is_frozen() && leaf.is_trainable() {
                row.trained_leaves += 1;
                row.trained += leaf.elements();
            }
        }
        row
    }

    fn state(&self) -> String {
        match (self.trained_leaves, self.leaves) {
            (_, 0) => "no leaves".to_string(),
            (0, _) => "frozen".to_string(),
            (trained, all) if trained == all => "trained".to_string(),
            (trained, all) => format!("{trained} of {all} leaves trained"),
        }
    }
}

impl fmt::Display for StageSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["stage", "leaves", "parameters", "trained", "state"]);
        for row in &self.stages {
            let numbers = [row.leaves, row.parameters, row.trained].map(|n| n.to_string());
            let [leaves, parameters, trained] = numbers;
            table.add_row([row.path.clone(), leaves, parameters, trained, row.state()]);
        }
        for column in 1..4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        match self.stages.get(self.frozen) {
            None => write!(f, "{} stages: nothing moves", self.stages.len()),
            Some(_) if self.frozen == 0 => {
                write!(f, "{} stages: the first moves, no frozen front", self.stages.len())
            }
            Some(boundary) => write!(
                f,
                "{} stages, of which the first {} are the frozen front; `{}` moves",
                self.stages.len(),
                self.frozen,
                boundary.path
            ),
        }
    }
}
