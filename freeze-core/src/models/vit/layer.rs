//! A block of ViT.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::Config;
use crate::models::activation::Activation;
use crate::models::attention::attend;
use crate::models::fresh::{Dropouts, linear_b};
use crate::nn::ops::AttentionMask;
use crate::nn::{Dropout, LayerNorm, Linear, layer_norm, ops};

#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct Layer {
    layernorm_before: LayerNorm,
    #[freeze(rename = "attention.attention.query")]
    query: Linear,
    #[freeze(rename = "attention.attention.key")]
    key: Linear,
    #[freeze(rename = "attention.attention.value")]
    value: Linear,
    #[freeze(rename = "attention.output.dense")]
    mix: Linear,
    layernorm_after: LayerNorm,
    #[freeze(rename = "intermediate.dense")]
    widen: Linear,
    #[freeze(rename = "output.dense")]
    narrow: Linear,
    attention_dropout: Dropout,
    dropout: Dropout,
    #[freeze(skip)]
    heads: usize,
    #[freeze(skip)]
    act: Activation,
}

impl Layer {
    pub(super) fn new(
        config: &Config,
        dropouts: &mut Dropouts,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let &Config { hidden_size: size, intermediate_size: wide, layer_norm_eps: eps, .. } =
            config;
        let linear = |inputs, outputs, bias, name: &str| {
            linear_b(inputs, outputs, bias, config.initializer_range, vb.pp(name))
        };
        Ok(Self {
            layernorm_before: layer_norm(size, eps, vb.pp("layernorm_before"))?,
            query: linear(size, size, config.qkv_bias, "attention.attention.query")?,
            key: linear(size, size, config.qkv_bias, "attention.attention.key")?,
            value: linear(size, size, config.qkv_bias, "attention.attention.value")?,
            mix: linear(size, size, true, "attention.output.dense")?,
            layernorm_after: layer_norm(size, eps, vb.pp("layernorm_after"))?,
            widen: linear(size, wide, true, "intermediate.dense")?,
            narrow: linear(wide, size, true, "output.dense")?,
            attention_dropout: dropouts.next(config.attention_probs_dropout_prob)?,
            dropout: dropouts.next(config.hidden_dropout_prob)?,
            heads: config.num_attention_heads,
            act: config.hidden_act,
        })
    }

    pub(super) fn forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let ys = self.layernorm_before.forward(xs)?;
        let projections = [&self.query, &self.key, &self.value];
        let (mask, dropout) = (AttentionMask::None, &self.attention_dropout);
        let ys = attend(projections, &ys, self.heads, mask, dropout, train)?;
        let xs = ops::add(&self.dropout.forward(&self.mix.forward(&ys)?, train)?, xs)?;
        let ys = self.widen.forward(&self.layernorm_after.forward(&xs)?)?;
        let ys = self.narrow.forward(&self.act.forward(&ys)?)?;
        ops::add(&self.dropout.forward(&ys, train)?, &xs)
    }
}
