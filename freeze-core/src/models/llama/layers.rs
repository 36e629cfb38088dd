//! One layer of the decoder, with the names that published files have.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::config::{Config, ModelType};
use super::rotary::Rotary;
use crate::models::activation::Activation;
use crate::models::context::TextContext;
use crate::models::fresh::{Dropouts, linear_b};
use crate::nn::ops::{
    AttentionMask, add, attention_side_by_side, mul, rope, split_heads, split_heads_rope,
};
use crate::nn::{Dropout, Linear, RmsNorm, rms_norm};

/// Attention to what came before and a gated perceptron (Shazeer 2020, arXiv:2002.05202), each of its normalised
/// input and added to it.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct DecoderLayer {
    input_layernorm: RmsNorm,
    #[freeze(rename = "self_attn.q_proj")]
    q_proj: Linear,
    #[freeze(rename = "self_attn.k_proj")]
    k_proj: Linear,
    #[freeze(rename = "self_attn.v_proj")]
    v_proj: Linear,
    #[freeze(rename = "self_attn.q_norm")]
    q_norm: Option<RmsNorm>,
    #[freeze(rename = "self_attn.k_norm")]
    k_norm: Option<RmsNorm>,
    #[freeze(rename = "self_attn.o_proj")]
    o_proj: Linear,
    post_attention_layernorm: RmsNorm,
    #[freeze(rename = "mlp.gate_proj")]
    gate_proj: Linear,
    #[freeze(rename = "mlp.up_proj")]
    up_proj: Linear,
    #[freeze(rename = "mlp.down_proj")]
    down_proj: Linear,
    attention_dropout: Dropout,
    heads: usize,
    key_heads: usize,
    turns: bool,
    #[freeze(skip)]
    act: Activation,
}

impl DecoderLayer {
    /// Layer `index`, below `vb`.
    pub(super) fn new(
        config: &Config,
        index: usize,
        dropouts: &mut Dropouts,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let (head, heads, key_heads) =
            (config.head_size(), config.num_attention_heads, config.key_heads());
        let (bias, mlp_bias) = (config.attention_bias, config.mlp_bias);
        let qkv_bias = bias || config.model_type == ModelType::Qwen2;
        let between =
            |from, to, bias, name| linear_b(from, to, bias, config.initializer_range, vb.pp(name));
        let norm = |size, name| rms_norm(size, config.rms_norm_eps, vb.pp(name));
        let head_norm = |name| match config.model_type {
            ModelType::Qwen3 => norm(head, name).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            input_layernorm: norm(size, "input_layernorm")?,
            q_proj: between(size, heads * head, qkv_bias, "self_attn.q_proj")?,
            k_proj: between(size, key_heads * head, qkv_bias, "self_attn.k_proj")?,
            v_proj: between(size, key_heads * head, qkv_bias, "self_attn.v_proj")?,
            q_norm: head_norm("self_attn.q_norm")?,
            k_norm: head_norm("self_attn.k_norm")?,
            o_proj: between(heads * head, size, bias, "self_attn.o_proj")?,
            post_attention_layernorm: norm(size, "post_attention_layernorm")?,
            gate_proj: between(size, inner, mlp_bias, "mlp.gate_proj")?,
            up_proj: between(size, inner, mlp_bias, "mlp.up_proj")?,
            down_proj: between(inner, size, mlp_bias, "mlp.down_proj")?,
            attention_dropout: dropouts.next(config.attention_dropout)?,
            heads,
            key_heads,
            turns: config.turns(index),
            act: config.hidden_act,
        })
    }

    pub(super) fn forward(
        &self,
        xs: &Tensor,
        rotary: &Rotary,
        context: &TextContext,
    ) -> Result<Tensor> {
        let mixed = self.attend(&self.input_layernorm.forward(xs)?, rotary, context)?;
        let xs = add(xs, &mixed)?;
        let inner = self.post_attention_layernorm.forward(&xs)?;
        let gate = self.act.forward(&self.gate_proj.forward(&inner)?)?;
        let inner = mul(&gate, &self.up_proj.forward(&inner)?)?;
        add(&xs, &self.down_proj.forward(&inner)?)
    }

    fn attend(&self, xs: &Tensor, rotary: &Rotary, context: &TextContext) -> Result<Tensor> {
        let (_, length, _) = xs.dims3()?;
        let tables = rotary.tables(length, xs.device())?;
        let tables = self.turns.then_some(&tables);
        let q = in_heads(&self.q_proj.forward(xs)?, self.heads, &self.q_norm, tables)?;
        let k = in_heads(&self.k_proj.forward(xs)?, self.key_heads, &self.k_norm, tables)?;
        let v = self.v_proj.forward(xs)?;
        let hidden = context.additive(xs)?;
        let mask = hidden.as_ref().map_or(AttentionMask::Causal, AttentionMask::CausalAdditive);
        let (heads, dropout) = ([self.heads, self.key_heads], &self.attention_dropout);
        let dropout = context.is_train().then_some(dropout);
        let mixed = attention_side_by_side([&q, &k, &v], heads, mask, None, dropout)?;
        self.o_proj.forward(&mixed)
    }
}

/// Queries or keys, each head normalised, each turned by its position: `[batch, heads, length, size]`, or as they are
/// where neither is wanted.
fn in_heads(
    xs: &Tensor,
    heads: usize,
    norm: &Option<RmsNorm>,
    tables: Option<&[Tensor; 2]>,
) -> Result<Tensor> {
    match (norm, tables) {
        (None, None) => Ok(xs.clone()),
        (None, Some([cos, sin])) => split_heads_rope(xs, heads, cos, sin),
        (Some(norm), None) => norm.forward(&split_heads(xs, heads)?),
        (Some(norm), Some([cos, sin])) => rope(&norm.forward(&split_heads(xs, heads)?)?, cos, sin),
    }
}
