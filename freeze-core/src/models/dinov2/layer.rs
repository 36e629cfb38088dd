//! A block of DINOv2.

use candle_core::{D, DType, Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::Config;
use crate::models::activation::Activation;
use crate::models::attention::attend;
use crate::models::fresh::{Dropouts, linear, linear_b};
use crate::nn::ops::AttentionMask;
use crate::nn::{Dropout, LayerNorm, Linear, layer_norm, ops};

#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct Layer {
    norm1: LayerNorm,
    #[freeze(rename = "attention.attention.query")]
    query: Linear,
    #[freeze(rename = "attention.attention.key")]
    key: Linear,
    #[freeze(rename = "attention.attention.value")]
    value: Linear,
    #[freeze(rename = "attention.output.dense")]
    mix: Linear,
    #[freeze(rename = "layer_scale1.lambda1", param)]
    scale1: Tensor,
    norm2: LayerNorm,
    mlp: Mlp,
    #[freeze(rename = "layer_scale2.lambda1", param)]
    scale2: Tensor,
    attention_dropout: Dropout,
    dropout: Dropout,
    /// Drops whole samples.
    drop_path: Dropout,
    #[freeze(skip)]
    heads: usize,
}

/// The feed-forward layers, whose names tell the two forms apart.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
enum Mlp {
    Plain {
        fc1: Linear,
        fc2: Linear,
        #[freeze(skip)]
        act: Activation,
    },
    /// `silu(gate) * up`, both computed at once.
    Gated { weights_in: Linear, weights_out: Linear },
}

impl Layer {
    pub(super) fn new(
        config: &Config,
        dropouts: &mut Dropouts,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let &Config { hidden_size: size, layer_norm_eps: eps, .. } = config;
        let linear =
            |name: &str, bias| linear_b(size, size, bias, config.initializer_range, vb.pp(name));
        let scale = |name| vb.get_with_hints(size, name, Init::Const(config.layerscale_value));
        Ok(Self {
            norm1: layer_norm(size, eps, vb.pp("norm1"))?,
            query: linear("attention.attention.query", config.qkv_bias)?,
            key: linear("attention.attention.key", config.qkv_bias)?,
            value: linear("attention.attention.value", config.qkv_bias)?,
            mix: linear("attention.output.dense", true)?,
            scale1: scale("layer_scale1.lambda1")?,
            norm2: layer_norm(size, eps, vb.pp("norm2"))?,
            mlp: Mlp::new(config, vb.pp("mlp"))?,
            scale2: scale("layer_scale2.lambda1")?,
            attention_dropout: dropouts.next(config.attention_probs_dropout_prob)?,
            drop_path: dropouts.next(config.drop_path_rate)?,
            dropout: dropouts.next(config.hidden_dropout_prob)?,
            heads: config.num_attention_heads,
        })
    }

    pub(super) fn forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let ys = self.norm1.forward(xs)?;
        let projections = [&self.query, &self.key, &self.value];
        let (mask, dropout) = (AttentionMask::None, &self.attention_dropout);
        let ys = attend(projections, &ys, self.heads, mask, dropout, train)?;
        let ys = self.dropout.forward(&self.mix.forward(&ys)?, train)?;
        let ys = ops::mul(&ys, &self.scale1)?;
        let xs = ops::add(&self.dropped(ys, train)?, xs)?;
        let ys = ops::mul(&self.mlp.forward(&self.norm2.forward(&xs)?)?, &self.scale2)?;
        ops::add(&self.dropped(ys, train)?, &xs)
    }

    /// What is left of `[batch, length, size]` after whole samples were dropped, and the others scaled.
    fn dropped(&self, xs: Tensor, train: bool) -> Result<Tensor> {
        if !train || self.drop_path.p() == 0.0 {
            return Ok(xs);
        }
        let ones = Tensor::ones((xs.dim(0)?, 1, 1), DType::F32, xs.device())?;
        let shares = self.drop_path.forward(&ones, train)?.to_dtype(xs.dtype())?;
        ops::mul(&xs, &shares)
    }
}

impl Mlp {
    fn new(config: &Config, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let size = config.hidden_size;
        let wide = (size as f64 * config.mlp_ratio) as usize;
        let linear = |inputs, outputs, name: &str| {
            linear(inputs, outputs, config.initializer_range, vb.pp(name))
        };
        Ok(match config.use_swiglu_ffn {
            true => {
                let wide = (wide * 2 / 3).next_multiple_of(8);
                Self::Gated {
                    weights_in: linear(size, 2 * wide, "weights_in")?,
                    weights_out: linear(wide, size, "weights_out")?,
                }
            }
            false => Self::Plain {
                fc1: linear(size, wide, "fc1")?,
                fc2: linear(wide, size, "fc2")?,
                act: config.hidden_act,
            },
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain { fc1, fc2, act } => fc2.forward(&act.forward(&fc1.forward(xs)?)?),
            Self::Gated { weights_in, weights_out } => {
                let both = weights_in.forward(xs)?;
                let half = both.dim(D::Minus1)? / 2;
                let gate = ops::silu(&both.narrow(D::Minus1, 0, half)?)?;
                weights_out.forward(&ops::mul(&gate, &both.narrow(D::Minus1, half, half)?)?)
            }
        }
    }
}
