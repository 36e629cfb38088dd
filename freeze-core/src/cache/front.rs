//! The frozen front: its boundary, its fingerprint, and which of its stages passed the trials.

use std::time::Duration;

use super::prints::Prints;
use super::seen::print;
use super::settings::Boundary;
use crate::error::{Error, Result};
use crate::model::{BatchNormPolicy, Freezable, Freezer, Revision, Stages, frozen_front};

/// The frozen stages in front of the boundary.
#[derive(Debug)]
pub(super) struct Front {
    revision: Revision,
    batch_norm: BatchNormPolicy,
    prints: Prints,
    /// The path of each stage of the model, and whether it has leaves.
    stages: Vec<(String, bool)>,
    /// The number of stages in front of the first that trains, or of the limit that was set.
    frozen: usize,
    /// The boundary: the number of stages in front of it, the frozen ones or less.
    pub(super) depth: usize,
    /// How many stages, from the first on, gave the same output twice.
    pub(super) repeated: usize,
    /// How many stages, from the first on, gave the same output for a part of a batch.
    pub(super) parted: usize,
    boundary: Boundary,
    /// For each stage that ran twice what it and its output cost.
    costs: Vec<Cost>,
}

/// What a stage costs for one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Running it.
    pub(super) run: Duration,
    /// Reading its output instead.
    pub(super) copy: Duration,
}

impl Front {
    pub(super) fn of<M: Stages>(freezer: &Freezer<M>, boundary: &Boundary) -> Result<Self> {
        let model = freezer.whole();
        let all = model.stages();
        let described = |stage: &M::Stage| -> Result<(String, bool)> {
            Ok((stage.to_string(), !model.stage_leaves(*stage)?.is_empty()))
        };
        let stages = all.iter().map(described).collect::<Result<Vec<_>>>()?;
        let frozen = frozen_front(model, &all, freezer.plan())?;
        let paths: Vec<String> = stages.iter().map(|(path, _)| path.clone()).collect();
        let depth = frozen.min(boundary.limit(&paths)?);
        Ok(Self {
            revision: freezer.revision,
            batch_norm: freezer.batch_norm(),
            prints: Prints::of(model, &paths[..depth], &paths[depth..])?,
            stages,
            frozen: depth,
            depth,
            repeated: 0,
            parted: 0,
            boundary: boundary.clone(),
            costs: Vec::new(),
        })
    }

    /// Whether the freezer has the same view as before, and a glance at the weights finds no change.
    pub(super) fn is_of<M: Freezable>(&self, freezer: &Freezer<M>) -> Result<bool> {
        Ok(self.revision == freezer.revision && self.prints.look_the_same()?)
    }

    /// How many stages, from the first on, compute the same as in the front `before`.
    pub(super) fn unchanged(&self, before: &Self) -> usize {
        match self.batch_norm == before.batch_norm {
            true => self.prints.unchanged(&before.prints),
            false => 0,
        }
    }

    /// Takes over the trials of the first `unchanged` stages.
    pub(super) fn know(&mut self, before: &Self, unchanged: usize) {
        self.repeated = before.repeated.min(unchanged);
        self.parted = before.parted.min(unchanged);
        self.costs = before.costs.iter().take(self.repeated).copied().collect();
        if self.frozen == before.frozen && unchanged == self.frozen {
            self.depth = before.depth;
        }
    }

    /// A stage gave the same output twice.
    pub(super) fn repeats(&mut self, stage: usize, cost: Cost) {
        if stage == self.repeated {
            self.repeated += 1;
            self.costs.push(cost);
        }
    }

    /// A stage gave the same output for a part of a batch.
    pub(super) fn parts(&mut self, stage: usize) {
        if stage == self.parted {
            self.parted += 1;
        }
    }

    /// Moves the boundary to where reading and running the frozen stages behind it takes least, if
    /// that was asked for.
    pub(super) fn choose(&mut self) {
        if self.boundary != Boundary::Cheapest || self.costs.len() < self.depth {
            return;
        }
        let cost = |depth: &usize| -> Duration {
            let read = depth.checked_sub(1).map_or(Duration::ZERO, |last| self.costs[last].copy);
            read + self.costs[*depth..self.depth].iter().map(|cost| cost.run).sum::<Duration>()
        };
        self.depth = (0..=self.depth).rev().min_by_key(cost).unwrap_or(self.depth);
    }

    /// A fingerprint of all that the first `depth` stages compute with, as far as it is known.
    pub(super) fn fingerprint(&self, depth: usize) -> u64 {
        let stages = self.prints.stages.iter().take(depth).chain([&self.prints.loose]);
        let bytes: Vec<u8> = stages.flat_map(|print| print.to_le_bytes()).collect();
        print(print(0, format!("{:?}", self.batch_norm).as_bytes()), &bytes)
    }

    /// The path of a stage; empty behind the last.
    pub(super) fn path(&self, stage: usize) -> &str {
        self.stages.get(stage).map_or("", |(path, _)| path)
    }

    /// Moves the boundary in front of `stage`, whose output cannot be stored, if that leaves out only
    /// stages without leaves.
    ///
    /// # Errors
    ///
    /// A frozen leaf would be left out, or no stage would be left.
    pub(super) fn cut(&mut self, stage: usize, why: &str) -> Result<()> {
        let has_leaves = self.stages[stage..self.depth].iter().any(|(_, leaves)| *leaves);
        if has_leaves || stage == 0 {
            let path = self.path(stage);
            return Err(Error::cache(format!(
                "the output of the frozen stage `{path}` cannot be stored: {why}; or store what enters it, \
                 by `boundary(Boundary::Before(\"{path}\"))`"
            )));
        }
        tracing::info!(
            stage = self.path(stage),
            why,
            "activations are stored in front of the stage, since its output cannot be"
        );
        self.depth = stage;
        Ok(())
    }
}
