//! The settings of Llama and its relatives.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at_least_1, check_number, check_positive};
use crate::models::activation::Activation;
use crate::models::attention::check_heads;
use crate::models::config::PretrainedConfig;

/// Which of the relatives: what they do not set in their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelType {
    /// Llama 2 and 3, SmolLM and SmolLM2.
    #[default]
    Llama,
    /// Qwen2: queries, keys and values have biases.
    Qwen2,
    /// Qwen3: each head of queries and keys is normalised.
    Qwen3,
    /// SmolLM3: every fourth layer does not turn queries and keys.
    SmolLM3,
}

/// The settings, by default those of Llama 2 7B.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, remote = "Self")]
pub struct Config {
    /// Which model.
    pub model_type: ModelType,
    /// Tokens that there are.
    pub vocab_size: usize,
    /// The size of a token's vector.
    pub hidden_size: usize,
    /// The size within the perceptron of a layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of queries, a divisor of `hidden_size`.
    pub num_attention_heads: usize,
    /// Heads of keys and values, a divisor of `num_attention_heads`; as many unless set.
    pub num_key_value_heads: Option<usize>,
    /// The size of a head, even; `hidden_size / num_attention_heads` unless set, for Qwen3 128.
    pub head_dim: Option<usize>,
    /// The function of the perceptron's gate.
    pub hidden_act: Activation,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// The standard deviation of initial weights.
    pub initializer_range: f64,
    /// The epsilon of norms.
    pub rms_norm_eps: f64,
    /// Whether the head's weight is the table of embeddings; only for SmolLM3 unless set.
    pub tie_word_embeddings: Option<bool>,
    /// The base of the rotary embedding's wavelengths; 10 000 unless set, for SmolLM3 2 000 000.
    pub rope_theta: Option<f64>,
    /// How wavelengths are stretched for long texts; `rope_parameters` in new files, which counts
    /// where a file has both.
    #[serde(alias = "rope_parameters")]
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the linear layers of attention have biases; Qwen2's have some, whatever is set.
    pub attention_bias: bool,
    /// Whether those of the perceptron have.
    pub mlp_bias: bool,
    /// The probability with which training drops a probability of attention.
    pub attention_dropout: f64,
    /// Whether layers see only a window of the text, which is refused.
    pub use_sliding_window: bool,
    /// What each layer sees: `full_attention` is all that there is.
    pub layer_types: Option<Vec<String>>,
    /// Of SmolLM3, 0 for a layer that does not turn queries and keys.
    pub no_rope_layers: Option<Vec<u8>>,
    /// Of SmolLM3, every which layer does not, unless `no_rope_layers` is set.
    pub no_rope_layer_interval: usize,
    /// What the generators of the dropouts are seeded with; no part of published files.
    pub seed: u64,
}

/// How the wavelengths of the rotary embedding are stretched.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, remote = "Self")]
pub struct RopeScaling {
    /// The rule; `type` in old files, which does not count where a file has both.
    #[serde(alias = "type")]
    pub rope_type: RopeType,
    /// By how much, at most.
    pub factor: f64,
    /// Waves that turn less often than this in the original length are stretched whole.
    pub low_freq_factor: f64,
    /// Waves that turn more often are kept.
    pub high_freq_factor: f64,
    /// The length that the model was first trained with.
    pub original_max_position_embeddings: usize,
    /// The base of wavelengths in new files, which have no `rope_theta` beside.
    pub rope_theta: Option<f64>,
    /// The share of a head that is turned: all of it is all that there is.
    pub partial_rotary_factor: f64,
}

/// The rule by which wavelengths are stretched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RopeType {
    /// Not at all.
    #[default]
    Default,
    /// All by one factor.
    Linear,
    /// Llama 3.1: the long ones.
    Llama3,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: ModelType::Llama,
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: Activation::Silu,
            max_position_embeddings: 2048,
            initializer_range: 0.02,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: None,
            rope_theta: None,
            rope_scaling: None,
            attention_bias: false,
            mlp_bias: false,
            attention_dropout: 0.0,
            use_sliding_window: false,
            layer_types: None,
            no_rope_layers: None,
            no_rope_layer_interval: 4,
            seed: 0,
        }
    }
}

impl Default for RopeScaling {
    fn default() -> Self {
        Self {
            rope_type: RopeType::Default,
            factor: 1.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
            rope_theta: None,
            partial_rotary_factor: 1.0,
        }
    }
}

impl PretrainedConfig for Config {
    const MODEL_TYPES: &'static [&'static str] = &["llama", "qwen2", "qwen3", "smollm3"];

    fn check(&self) -> Result<()> {
        let heads = self.num_attention_heads;
        check_heads(("hidden_size", self.hidden_size), ("num_attention_heads", heads))?;
        at_least_1("max_position_embeddings", self.max_position_embeddings)?;
        at_least_1("no_rope_layer_interval", self.no_rope_layer_interval)?;
        if !heads.is_multiple_of(at_least_1("num_key_value_heads", self.key_heads())?) {
            let (found, expected) = (self.key_heads(), "a divisor of `num_attention_heads`");
            return Err(Error::count("num_key_value_heads", found, expected));
        }
        if self.head_size() == 0 || !self.head_size().is_multiple_of(2) {
            return Err(Error::count("head_dim", self.head_size(), "an even number, at least 2"));
        }
        check_positive("rope_theta", self.theta())?;
        self.check_layers()?;
        self.rope_scaling.as_ref().map_or(Ok(()), RopeScaling::check)
    }
}

impl Config {
    fn check_layers(&self) -> Result<()> {
        let mut others = self.layer_types.iter().flatten().filter(|kind| *kind != "full_attention");
        let other = others.next().map(|kind| format!("`layer_types` has `{kind}`"));
        if let Some(what) =
            other.or(self.use_sliding_window.then(|| "`use_sliding_window` is set".into()))
        {
            return Err(Error::ModelConfig {
                of: "llama".into(),
                why: format!("{what}; layers here see the whole text"),
            });
        }
        match &self.no_rope_layers {
            Some(layers) if layers.len() < self.num_hidden_layers => {
                let (name, expected) = ("no_rope_layers", "an entry for each layer");
                Err(Error::count(name, layers.len(), expected))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn key_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    pub(super) fn head_size(&self) -> usize {
        let size = match self.model_type {
            ModelType::Qwen3 => 128,
            _ => self.hidden_size / self.num_attention_heads.max(1),
        };
        self.head_dim.unwrap_or(size)
    }

    pub(super) fn theta(&self) -> f64 {
        let own = self.rope_scaling.as_ref().and_then(|scaling| scaling.rope_theta);
        let usual = if self.model_type == ModelType::SmolLM3 { 2e6 } else { 1e4 };
        own.or(self.rope_theta).unwrap_or(usual)
    }

    pub(super) fn is_tied(&self) -> bool {
        self.tie_word_embeddings.unwrap_or(self.model_type == ModelType::SmolLM3)
    }

    /// Whether a layer turns queries and keys by their positions.
    pub(super) fn turns(&self, layer: usize) -> bool {
        match (self.model_type, &self.no_rope_layers) {
            (ModelType::SmolLM3, Some(layers)) => layers.get(layer) != Some(&0),
            (ModelType::SmolLM3, None) => !(layer + 1).is_multiple_of(self.no_rope_layer_interval),
            _ => true,
        }
    }
}

impl RopeScaling {
    fn check(&self) -> Result<()> {
        check_number("partial_rotary_factor", self.partial_rotary_factor, 1.0..=1.0, "1")?;
        check_positive("factor", self.factor)?;
        let (low, high) = (self.low_freq_factor, self.high_freq_factor);
        check_number("low_freq_factor", low, .., "a finite number")?;
        let above = (Bound::Excluded(low), Bound::Unbounded);
        check_number("high_freq_factor", high, above, "more than `low_freq_factor`")
    }
}
