//! candle-nn's layers: each is rebuilt from its accessors, bit for bit.

use std::collections::HashMap;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::batch_norm::{BatchNormConfig, batch_norm};
use candle_nn::layer_norm::{LayerNormConfig, layer_norm};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{
    BatchNorm, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Embedding, Init, LayerNorm,
    Linear, PReLU, RmsNorm, VarBuilder,
};

use crate::error::{Error, Result};
use crate::model::{BatchNormPolicy, Freezable, LeafTree, Mapper};

macro_rules! convolution {
    ($($layer:ident),+) => {$(
        #[diagnostic::do_not_recommend]
        impl Freezable for $layer {
            const LEAVES: LeafTree = LeafTree::leaf(stringify!($layer));

            fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
                mapper.leaf(stringify!($layer), |mapper| {
                    let weight = mapper.weight("weight", self.weight())?;
                    let bias = mapper.optional("bias", self.bias())?;
                    Ok(Self::new(weight, bias, *self.config()))
                })
            }
        }
    )+};
}

convolution!(Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d);

#[diagnostic::do_not_recommend]
impl Freezable for Linear {
    const LEAVES: LeafTree = LeafTree::leaf("Linear");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf("Linear", |mapper| {
            let weight = mapper.weight("weight", self.weight())?;
            Ok(Self::new(weight, mapper.optional("bias", self.bias())?))
        })
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for Embedding {
    const LEAVES: LeafTree = LeafTree::leaf("Embedding");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf("Embedding", |mapper| {
            Ok(Self::new(mapper.weight("weight", self.embeddings())?, self.hidden_size()))
        })
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for PReLU {
    const LEAVES: LeafTree = LeafTree::leaf("PReLU");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf("PReLU", |mapper| {
            Ok(Self::new(mapper.weight("weight", self.weight())?, self.is_scalar()))
        })
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for RmsNorm {
    const LEAVES: LeafTree = LeafTree::leaf("RmsNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf("RmsNorm", |mapper| {
            mapper.has_no_backward("RmsNorm");
            Ok(Self::new(mapper.weight("weight", self.weight())?, self.eps()))
        })
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for LayerNorm {
    const LEAVES: LeafTree = LeafTree::leaf("LayerNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf("LayerNorm", |mapper| {
            let weight = mapper.weight("weight", self.weight())?;
            let bias = mapper.optional("bias", self.bias())?;
            // Without a bias it computes differently.
            if bias.is_some() {
                mapper.has_no_backward("LayerNorm");
            }
            layer_norm_of(weight, bias, self.remove_mean(), self.eps())
        })
    }
}

/// A layer of these tensors.
pub(crate) fn layer_norm_of(
    weight: Tensor,
    bias: Option<Tensor>,
    remove_mean: bool,
    eps: f64,
) -> Result<LayerNorm> {
    Ok(match (bias, remove_mean) {
        (Some(bias), true) => LayerNorm::new(weight, bias, eps),
        (None, true) => LayerNorm::new_no_bias(weight, eps),
        (None, false) => LayerNorm::rms_norm(weight, eps),
        // Only the constructor over a `VarBuilder` accepts this combination.
        (Some(bias), false) => {
            let config = LayerNormConfig { eps, remove_mean: false, affine: true };
            let size = weight.elem_count();
            layer_norm(size, config, builder([("weight", weight), ("bias", bias)]))?
        }
    })
}

/// Always one leaf: without weights (`affine: false`) it still has running statistics.
#[diagnostic::do_not_recommend]
impl Freezable for BatchNorm {
    const LEAVES: LeafTree = LeafTree::leaf("BatchNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf("BatchNorm", |mapper| {
            let refuse = |mapper: &Mapper<'_>, why: &str| Error::Rebuild {
                path: mapper.path().to_string(),
                kind: "BatchNorm",
                why: why.to_string(),
            };
            if mapper.state().is_frozen() && mapper.batch_norm() == BatchNormPolicy::Inference {
                let why = "candle's layer normalises as its caller says, not by its statistics; \
                           use `freeze_core::nn::BatchNorm` or `BatchNormPolicy::AsCaller`";
                return Err(refuse(mapper, why));
            }
            let Some(remove_mean) = remove_mean(self) else {
                let why = "this version of candle hides whether it removes the mean";
                return Err(refuse(mapper, why));
            };
            let mean = mapper.buffer("running_mean", self.running_mean())?;
            let var = mapper.buffer("running_var", self.running_var())?;
            let config = BatchNormConfig {
                eps: self.eps(),
                remove_mean,
                affine: self.weight_and_bias().is_some(),
                momentum: self.momentum(),
            };
            let size = mean.elem_count();
            let mut tensors = vec![("running_mean", mean), ("running_var", var)];
            if let Some((weight, bias)) = self.weight_and_bias() {
                tensors.push(("weight", mapper.weight("weight", weight)?));
                tensors.push(("bias", mapper.weight("bias", bias)?));
            }
            Ok(batch_norm(size, config, builder(tensors))?)
        })
    }

    fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
        mapper.leaf("BatchNorm", |mapper| {
            mapper.buffer("running_mean", self.running_mean())?;
            mapper.buffer("running_var", self.running_var())?;
            if let Some((weight, bias)) = self.weight_and_bias() {
                mapper.weight("weight", weight)?;
                mapper.weight("bias", bias)?;
            }
            Ok(())
        })
    }
}

/// Read from the `Debug` output: candle has no accessor for this setting.
pub(crate) fn remove_mean(layer: &BatchNorm) -> Option<bool> {
    let text = format!("{layer:?}");
    match (text.contains("remove_mean: true"), text.contains("remove_mean: false")) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

/// A builder that returns exactly these tensors, whatever type and device are asked for.
fn builder<'n>(tensors: impl IntoIterator<Item = (&'n str, Tensor)>) -> VarBuilder<'static> {
    let tensors: HashMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
    VarBuilder::from_backend(Box::new(AsTheyAre(tensors)), DType::F32, Device::Cpu)
}

struct AsTheyAre(HashMap<String, Tensor>);

impl SimpleBackend for AsTheyAre {
    fn get(
        &self,
        _: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        dev: &Device,
    ) -> candle_core::Result<Tensor> {
        self.get_unchecked(name, dtype, dev)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        let missing = || candle_core::Error::CannotFindTensor { path: name.to_string() };
        Ok(self.0.get(name).ok_or_else(missing)?.clone())
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
