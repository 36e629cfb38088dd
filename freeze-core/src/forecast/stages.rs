//! The costs of a model's stages, measured one by one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::costs::typical;
use crate::audit::trial::Trial;
use crate::error::Result;
use crate::kernel::{StorageId, bytes_of};
use crate::model::{Flow, Freezer, Staged, frozen_front};
use crate::nn::ops::held::{held, kept};
use crate::nn::recompute::entered;

/// How often each stage is timed, after a first forward that is not.
const ROUNDS: usize = 5;

/// The measured cost of each stage's forward. Prints as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct StageCosts {
    pub(super) stages: Vec<StageCost>,
    pub(super) batch: usize,
    input_bytes: usize,
    pub(super) boundary: Option<usize>,
}

/// The cost of one stage's forward for one batch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StageCost {
    /// The stage's path.
    pub path: String,
    /// The time of its forward.
    pub forward: Duration,
    /// The bytes of its output.
    pub output_bytes: usize,
    /// The bytes that stay alive for the backward, its output included: results of operations. 0 if
    /// nothing at or before the stage trains. What an operation keeps for itself, such as a dropout's
    /// mask, is not counted.
    pub kept_bytes: usize,
}

/// Measures each stage of the current view on a batch: six forwards, and no more than one stage's
/// activations at a time. Running statistics and the generators of dropouts are restored.
///
/// # Errors
///
/// The forward fails, or the first dimensions of `xs` differ.
pub fn stages<M: Staged>(
    freezer: &Freezer<M>,
    xs: &M::Flow,
    context: &M::Context,
) -> Result<StageCosts> {
    let trial = Trial::new(freezer)?;
    let (stages, plan) = (freezer.stages(), freezer.plan());
    let front = frozen_front(freezer.whole(), &stages, plan)?;
    let round = |view: &mut M| -> Result<Vec<StageCost>> {
        let mut flow = xs.detached()?;
        let mut costs = Vec::new();
        for &stage in &stages {
            let inside = entered(&flow)?;
            let device = flow.tensors().first().map_or(Device::Cpu, |t| t.device().clone());
            device.synchronize()?;
            let start = Instant::now();
            let (ran, held) = held(|| view.run(stage, inside, context));
            flow = ran?;
            device.synchronize()?;
            let (forward, path) = (start.elapsed(), stage.to_string());
            let (output_bytes, kept_bytes) = (bytes(&flow.tensors()), kept(&flow.tensors(), &held));
            costs.push(StageCost { path, forward, output_bytes, kept_bytes });
        }
        Ok(costs)
    };
    let run = || trial.through(plan, freezer.batch_norm(), round)?.1;
    run()?;
    let rounds = (0..ROUNDS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    trial.finish()?;
    let mut costs = rounds.last().cloned().unwrap_or_default();
    for (i, cost) in costs.iter_mut().enumerate() {
        cost.forward = typical(rounds.iter().map(|round| round[i].forward)).unwrap_or_default();
    }
    Ok(StageCosts {
        stages: costs,
        batch: xs.batch()?,
        input_bytes: bytes(&xs.tensors()),
        boundary: (front < stages.len()).then_some(front),
    })
}

impl StageCosts {
    /// Each stage in order.
    pub fn stages(&self) -> &[StageCost] {
        &self.stages
    }

    /// The bytes of the batch that was measured.
    pub fn input_bytes(&self) -> usize {
        self.input_bytes
    }

    /// The time that records of the output of the stage at `index` would save for each batch: the
    /// forward up to there.
    pub fn cached_time(&self, index: usize) -> Duration {
        self.stages.iter().take(index.saturating_add(1)).map(|stage| stage.forward).sum()
    }

    /// The bytes of one sample's record of the output of the stage at `index`.
    pub fn record_bytes(&self, index: usize) -> usize {
        let bytes = self.stages.get(index).map_or(0, |stage| stage.output_bytes);
        bytes.checked_div(self.batch).unwrap_or(0)
    }

    /// The bytes that are not kept if the stage at `index` is recomputed; its forward is the price.
    pub fn recomputed_bytes(&self, index: usize) -> usize {
        let saved = |stage: &StageCost| stage.kept_bytes.saturating_sub(stage.output_bytes);
        self.stages.get(index).map_or(0, saved)
    }
}

fn bytes(tensors: &[Tensor]) -> usize {
    let mut met = HashSet::new();
    let tensors = tensors.iter().filter(|tensor| met.insert(StorageId::of(tensor)));
    tensors.map(bytes_of).sum()
}
