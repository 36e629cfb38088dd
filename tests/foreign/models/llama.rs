use candle_core::{DType, Device::Cpu, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, qwen2, qwen3};
use freeze_core::Staged;
use freeze_core::models::llama::{Config, LlamaForCausalLM};
use freeze_core::models::{PretrainedConfig, TextContext};

use super::{assert_equal, builders};

/// What the configurations of all three have.
const COMMON: &str = r#""vocab_size": 40, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "initializer_range": 0.3"#;
const QWEN: &str = r#""sliding_window": 64, "max_window_layers": 2, "use_sliding_window": false,
    "hidden_act": "silu", "attention_bias": false"#;

/// They give the scores after the last token: of texts of all lengths, ours are the same.
#[track_caller]
fn assert_same(ours: &LlamaForCausalLM, mut theirs: impl FnMut(&Tensor) -> Result<Tensor>) {
    let text = Tensor::new(&[[1u32, 7, 3, 9, 39, 0, 7], [4, 4, 28, 2, 6, 11, 12]], &Cpu);
    let text = text.expect("tokens");
    for length in 1..=7 {
        let tokens = text.narrow(1, 0, length).and_then(|tokens| tokens.contiguous()).unwrap();
        let expected = theirs(&tokens).expect("their scores");
        let found = ours.forward(tokens, &TextContext::new()).expect("our scores");
        let last = found.narrow(1, length - 1, 1).and_then(|last| last.squeeze(1)).unwrap();
        assert_equal(&last, &expected);
    }
}

/// Ours, which makes the tensors: their Qwen2 is tied where there is no `lm_head.weight`.
fn ours(json: &str, vb: VarBuilder<'_>) -> LlamaForCausalLM {
    let config = Config::from_json(json).expect("our settings");
    LlamaForCausalLM::new(&config, vb).expect("our model")
}

#[test]
fn llama_is_theirs() {
    for (tie, scaling) in [
        (false, "null"),
        (
            true,
            r#"{"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64, "rope_type": "llama3"}"#,
        ),
    ] {
        let more = format!(r#""tie_word_embeddings": {tie}, "rope_scaling": {scaling}"#);
        let json = format!("{{{COMMON}, {more}}}");
        let [same, vb] = builders();
        let ours = ours(&json, same);
        let config: llama::LlamaConfig = serde_json::from_str(&json).expect("their settings");
        let config = config.into_config(false);
        let theirs = llama::Llama::load(vb, &config).expect("their model");
        assert_same(&ours, |tokens| {
            let mut cache = llama::Cache::new(false, DType::F32, &config, &Cpu)?;
            theirs.forward(tokens, 0, &mut cache)
        });
    }
}

#[test]
fn qwens_are_theirs() {
    for tie in [false, true] {
        let more = format!(r#""tie_word_embeddings": {tie}, "model_type": "qwen2""#);
        let (json, [same, vb]) = (format!("{{{COMMON}, {QWEN}, {more}}}"), builders());
        let ours = ours(&json, same);
        let config: qwen2::Config = serde_json::from_str(&json).expect("their settings");
        let mut theirs = qwen2::ModelForCausalLM::new(&config, vb).expect("their model");
        assert_same(&ours, |tokens| {
            theirs.clear_kv_cache();
            theirs.forward(tokens, 0)?.squeeze(1)
        });
    }
    for tie in [false, true] {
        let more = format!(r#""tie_word_embeddings": {tie}, "model_type": "qwen3", "head_dim": 6"#);
        let (json, [same, vb]) = (format!("{{{COMMON}, {QWEN}, {more}}}"), builders());
        let ours = ours(&json, same);
        let config: qwen3::Config = serde_json::from_str(&json).expect("their settings");
        let mut theirs = qwen3::ModelForCausalLM::new(&config, vb).expect("their model");
        assert_same(&ours, |tokens| {
            theirs.clear_kv_cache();
            theirs.forward(tokens, 0)?.squeeze(1)
        });
    }
}
