//! Llama (Touvron et al., 2023, [arXiv:2302.13971](https://arxiv.org/abs/2302.13971)) and what has its layers and
//! names: Llama 2 and 3, SmolLM 1 to 3, Qwen2 and Qwen3. `model_type` in the configuration says which.
//!
//! The names of the tensors are those of Hugging Face's files. Stages are the table of embeddings, the layers, the
//! norm and the head, whose weight is the table where the configuration ties the two:
//!
//! ```
//! use candle_core::{DType, Device::Cpu, Tensor};
//! use freeze_core::{Freezable, Freezer, Staged, init::Seeded};
//! use freeze_core::models::{PretrainedConfig, TextContext};
//! use freeze_core::models::llama::{Config, LlamaForCausalLM, causal_lm_loss};
//!
//! let config = Config::from_json(
//!     r#"{"model_type": "llama", "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2,
//!         "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16,
//!         "max_position_embeddings": 32, "tie_word_embeddings": false}"#,
//! )?;
//! let mut net = Freezer::new(LlamaForCausalLM::new(&config, Seeded::builder(1, DType::F32, &Cpu))?)?;
//! net.freeze_front(net.whole().leaf_before("model.layers.1")?, &mut [])?;
//! let tokens = Tensor::new(&[[2u32, 7, 9], [4, 5, 1]], &Cpu)?;
//! let logits = net.forward(tokens.clone(), &TextContext::new().train(true))?;
//! assert_eq!(logits.dims(), [2, 3, 50]);
//! freeze_core::backward(&causal_lm_loss(&logits, &tokens, -100)?)?;
//! # Ok::<(), freeze_core::Error>(())
//! ```
//!
//! The leaves of a tied model of one layer:
//!
//! ```
//! # use candle_core::{DType, Device::Cpu};
//! # use freeze_core::{Freezable, init::Seeded, models::PretrainedConfig};
//! # use freeze_core::models::llama::{Config, LlamaForCausalLM};
//! # let config = Config::from_json(
//! #     r#"{"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
//! #         "num_key_value_heads": 1, "intermediate_size": 16, "tie_word_embeddings": true}"#,
//! # )?;
//! let net = LlamaForCausalLM::new(&config, Seeded::builder(1, DType::F32, &Cpu))?;
//! let summary = net.summary()?.to_string();
//! # let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
//! # let rows: Vec<String> = summary.lines().map(words).filter(|row| row.starts_with(char::is_numeric)).collect();
//! # let expected = [
//! "0 model.embed_tokens Embedding weight [50, 8] = lm_head.weight 400 trained",
//! "1 model.layers.0.input_layernorm RmsNorm weight [8] 8 trained",
//! "2 model.layers.0.self_attn.q_proj Linear weight [8, 8] 64 trained",
//! "3 model.layers.0.self_attn.k_proj Linear weight [4, 8] 32 trained",
//! "4 model.layers.0.self_attn.v_proj Linear weight [4, 8] 32 trained",
//! "5 model.layers.0.self_attn.o_proj Linear weight [8, 8] 64 trained",
//! "6 model.layers.0.post_attention_layernorm RmsNorm weight [8] 8 trained",
//! "7 model.layers.0.mlp.gate_proj Linear weight [16, 8] 128 trained",
//! "8 model.layers.0.mlp.up_proj Linear weight [16, 8] 128 trained",
//! "9 model.layers.0.mlp.down_proj Linear weight [8, 16] 128 trained",
//! "10 model.norm RmsNorm weight [8] 8 trained",
//! "11 lm_head Linear weight [50, 8] = model.embed_tokens.weight 400 trained",
//! "12 leaves, 1000 parameters: 1000 trained, 0 not",
//! # ];
//! # assert_eq!(rows, expected);
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod config;
mod keys;
mod layers;
mod rotary;

use candle_core::{DType, Module, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::config::PretrainedConfig;
use super::context::TextContext;
use super::fresh::{Dropouts, embedding, linear_no_bias};
use super::places::length;
use super::stack::layer;
use crate::model::Staged;
use crate::nn::{Embedding, Linear, RmsNorm, cross_entropy, rms_norm};
pub use config::{Config, ModelType, RopeScaling, RopeType};
use layers::DecoderLayer;
use rotary::Rotary;

/// A model of language: of tokens, integers `[batch, length]`, the scores of the token after each,
/// `[batch, length, vocabulary]`.
///
/// A token sees itself and what comes before it, without what the context's mask leaves out. Positions are counted
/// from the first token of the row, padding included, on whichever side it is: what counts is how far apart
/// tokens are.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct LlamaForCausalLM {
    #[freeze(rename = "model.embed_tokens")]
    embed_tokens: Embedding,
    #[freeze(rename = "model.layers")]
    layers: Vec<DecoderLayer>,
    #[freeze(rename = "model.norm")]
    norm: RmsNorm,
    lm_head: Linear,
    #[freeze(skip)]
    rotary: Rotary,
}

impl LlamaForCausalLM {
    /// The model from the tensors of `vb`. A tied head is the table of embeddings, and no tensor of its own is
    /// asked for; it is saved under both names, and either is enough to load it.
    ///
    /// # Errors
    ///
    /// Settings that do not fit together, or `vb` cannot give the tensors.
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        config.check()?;
        let (size, entries, stdev) =
            (config.hidden_size, config.vocab_size, config.initializer_range);
        let embed_tokens = embedding(entries, size, stdev, vb.pp("model.embed_tokens"))?;
        let (mut dropouts, below) = (Dropouts::new(config.seed), vb.pp("model.layers"));
        let layer = |index| DecoderLayer::new(config, index, &mut dropouts, below.pp(index));
        let layers =
            (0..config.num_hidden_layers).map(layer).collect::<crate::error::Result<_>>()?;
        let lm_head = match config.is_tied() {
            true => Linear::new(embed_tokens.embeddings().clone(), None),
            false => linear_no_bias(size, entries, stdev, vb.pp("lm_head"))?,
        };
        let norm = rms_norm(size, config.rms_norm_eps, vb.pp("model.norm"))?;
        Ok(Self { embed_tokens, layers, norm, lm_head, rotary: Rotary::new(config) })
    }

    fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        length(tokens, self.rotary.positions())?;
        self.embed_tokens.forward(tokens)
    }
}

impl Staged for LlamaForCausalLM {
    type Flow = Tensor;
    type Context = TextContext;

    fn run(
        &self,
        stage: LlamaForCausalLMStage,
        xs: Tensor,
        context: &TextContext,
    ) -> Result<Tensor> {
        match stage {
            LlamaForCausalLMStage::EmbedTokens => self.embed(&xs),
            LlamaForCausalLMStage::Layers(index) => {
                layer(&self.layers, index)?.forward(&xs, &self.rotary, context)
            }
            LlamaForCausalLMStage::Norm => self.norm.forward(&xs),
            LlamaForCausalLMStage::LmHead => self.lm_head.forward(&xs),
        }
    }
}

/// The mean cross-entropy of the scores at each place, `[batch, length, vocabulary]`, for the label at the next one.
///
/// `labels` are integers `[batch, length]`, mostly the tokens themselves; those that are `ignored` do not count, such
/// as padding and, where that is on the left, the first token of a text. Hugging Face's models ignore -100.
///
/// # Errors
///
/// As [`cross_entropy`], also for texts of less than two tokens.
pub fn causal_lm_loss(logits: &Tensor, labels: &Tensor, ignored: i64) -> Result<Tensor> {
    let length = match *labels.dims() {
        [_, length] if length > 0 => length,
        _ => {
            bail!("causal_lm_loss: labels of shape {:?}, expected [batch, length]", labels.shape())
        }
    };
    // Shifting the labels copies no scores.
    let labels = labels.to_dtype(DType::I64)?;
    let last = (labels.narrow(1, 0, 1)?.zeros_like()? + ignored as f64)?;
    let next = Tensor::cat(&[&labels.narrow(1, 1, length - 1)?, &last], 1)?;
    cross_entropy(logits, &next, Some(ignored))
}
