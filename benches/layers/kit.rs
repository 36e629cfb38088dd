//! Whose layers a model is made of.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use freeze_core::{Freezable, Staged, nn};

/// A set of layers. The models' files add what only they need.
pub(crate) trait Kit {
    type Linear: Freezable + Module;

    fn linear(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self::Linear>;
}

/// `freeze_core::nn`.
pub(crate) enum Ours {}

/// candle's own layers; what of them has no backward is written in candle's differentiable
/// operations.
pub(crate) enum Stock {}

impl Kit for Ours {
    type Linear = nn::Linear;

    fn linear(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self::Linear> {
        nn::linear(inputs, outputs, vb)
    }
}

impl Kit for Stock {
    type Linear = candle_nn::Linear;

    fn linear(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self::Linear> {
        candle_nn::linear(inputs, outputs, vb)
    }
}

/// Stages one after another.
#[derive(Freezable)]
#[freeze(stages)]
pub(crate) struct Net<S> {
    pub(crate) stages: Vec<S>,
}

impl<S: Freezable + Module> Staged for Net<S> {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, _: &()) -> Result<Tensor> {
        match stage {
            NetStage::Stages(i) => self.stages[i].forward(&xs),
        }
    }
}

impl<S: Module> Module for Net<S> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.stages.iter().try_fold(xs.clone(), |xs, stage| stage.forward(&xs))
    }
}
