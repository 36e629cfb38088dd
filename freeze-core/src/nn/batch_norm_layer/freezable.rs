//! The layer under a plan, and candle's layer as ours.

use candle_nn::BatchNormConfig;

use super::{BatchNorm, Training, config, statistics};
use crate::error::Error;
use crate::model::{BatchNormPolicy, Freezable, LeafTree, Mapper};

/// Always one leaf: without weights (`affine: false`) it still has running statistics.
#[diagnostic::do_not_recommend]
impl Freezable for BatchNorm {
    const LEAVES: LeafTree = LeafTree::leaf("BatchNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.leaf("BatchNorm", |mapper| {
            // If the mapper returns a variable, it is shared.
            let mean = mapper.buffer("running_mean", self.running_mean())?;
            let var = mapper.buffer("running_var", self.running_var())?;
            let weight_and_bias = match self.weight_and_bias() {
                Some((weight, bias)) => {
                    Some((mapper.weight("weight", weight)?, mapper.weight("bias", bias)?))
                }
                None => None,
            };
            let training = match (mapper.state().is_frozen(), mapper.batch_norm()) {
                (true, BatchNormPolicy::Inference) => Training::ByRunning,
                _ => Training::ByBatch,
            };
            Ok(Self {
                running_mean: statistics(&mean)?,
                running_var: statistics(&var)?,
                weight_and_bias,
                training,
                across: self.across.clone(),
                ..*self
            })
        })
    }
}

/// Shares all tensors of candle's layer, running statistics included unless they are f16 or bf16.
impl TryFrom<candle_nn::BatchNorm> for BatchNorm {
    type Error = Error;

    fn try_from(layer: candle_nn::BatchNorm) -> crate::error::Result<Self> {
        let remove_mean =
            crate::model::layers::remove_mean(&layer).ok_or_else(|| Error::Rebuild {
                path: String::new(),
                kind: "BatchNorm",
                why: "this version of candle hides whether it removes the mean".to_string(),
            })?;
        let config = BatchNormConfig { remove_mean, ..config(layer.eps(), layer.momentum()) };
        let running = [layer.running_mean().clone(), layer.running_var().clone()];
        let affine = layer.weight_and_bias().map(|(weight, bias)| (weight.clone(), bias.clone()));
        Ok(Self::build(layer.running_mean().elem_count(), running, affine, config)?)
    }
}
