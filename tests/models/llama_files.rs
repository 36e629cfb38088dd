//! Llama's settings and weights from published files, and what cannot be used.

use candle_core::{DType, Device::Cpu, Tensor};
use freeze_core::checkpoint::{load_weights, save_weights};
use freeze_core::init::Seeded;
use freeze_core::models::llama::{Config, LlamaForCausalLM, ModelType, RopeScaling, RopeType};
use freeze_core::models::{ModelConfig, PretrainedConfig, TextContext, load_pretrained};
use freeze_core::{Freezable, Result, Staged};

use crate::golden::{Case, numbers};

/// The file that lies beside Llama 3.2 1B.
const LLAMA: &str = r#"{
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu",
  "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
  "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama",
  "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
  "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
  "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256
}"#;

/// The file that lies beside Qwen2.5 0.5B.
const QWEN: &str = r#"{
  "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
  "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
  "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24,
  "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24,
  "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_mrope": false,
  "use_sliding_window": false, "vocab_size": 151936
}"#;

#[test]
fn settings_are_those_of_the_file() {
    let scaling = RopeScaling { rope_type: RopeType::Llama3, factor: 32.0, ..Default::default() };
    let llama = Config {
        vocab_size: 128_256,
        hidden_size: 2048,
        intermediate_size: 8192,
        num_hidden_layers: 16,
        num_key_value_heads: Some(8),
        head_dim: Some(64),
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: Some(true),
        rope_theta: Some(5e5),
        rope_scaling: Some(scaling),
        ..Default::default()
    };
    let qwen = Config {
        model_type: ModelType::Qwen2,
        vocab_size: 151_936,
        hidden_size: 896,
        intermediate_size: 4864,
        num_hidden_layers: 24,
        num_attention_heads: 14,
        num_key_value_heads: Some(2),
        max_position_embeddings: 32768,
        tie_word_embeddings: Some(true),
        rope_theta: Some(1e6),
        ..Default::default()
    };
    for (json, expected) in [(LLAMA, llama), (QWEN, qwen)] {
        assert_eq!(Config::from_json(json).expect("settings"), expected);
        assert_eq!(ModelConfig::from_json(json).expect("settings"), ModelConfig::Llama(expected));
    }
}

/// New versions of `transformers` write both names.
#[test]
fn of_an_old_name_and_a_new_one_the_new_one_counts() {
    let linear = RopeScaling { rope_type: RopeType::Linear, factor: 2.0, ..Default::default() };
    for json in [
        r#"{"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2}}"#,
        r#"{"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2}}"#,
        r#"{"rope_parameters": {"type": "linear", "factor": 2}, "rope_scaling": {"type": "yarn"}}"#,
        r#"{"rope_scaling": null, "rope_parameters": {"rope_type": "linear", "factor": 2}}"#,
        r#"{"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": null}"#,
    ] {
        let config = Config::from_json(json).expect(json);
        assert_eq!(config.rope_scaling.as_ref(), Some(&linear), "{json}");
        let saved = serde_json::to_string(&config).expect("JSON");
        assert_eq!(Config::from_json(&saved).expect("settings"), config);
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    for (json, expected) in [
        (r#"{"model_type": "bert"}"#, "this model covers `llama`, `qwen2`, `qwen3`"),
        (r#"{"hidden_size": 0}"#, "`hidden_size` is 0"),
        (r#"{"num_attention_heads": 0}"#, "`num_attention_heads` is 0"),
        (r#"{"num_attention_heads": 5}"#, "`num_attention_heads` is 5, expected a divisor"),
        (r#"{"num_key_value_heads": 5}"#, "`num_key_value_heads` is 5, expected a divisor"),
        (r#"{"num_key_value_heads": 0}"#, "`num_key_value_heads` is 0"),
        (r#"{"head_dim": 5}"#, "`head_dim` is 5, expected an even number"),
        (r#"{"hidden_size": 6, "num_attention_heads": 6}"#, "`head_dim` is 1"),
        (r#"{"rope_theta": 0}"#, "`rope_theta` is 0"),
        (r#"{"rope_scaling": {"type": "yarn"}}"#, "unknown variant `yarn`, expected one of"),
        (r#"{"rope_scaling": {"factor": 0}}"#, "`factor` is 0"),
        (r#"{"rope_scaling": {"type": "linear"}}"#, "the rule `linear` needs `factor`"),
        (r#"{"rope_scaling": {"type": "linear", "factor": null}}"#, "`linear` needs `factor`"),
        (
            r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                "high_freq_factor": 4}}"#,
            "`llama3` needs `original_max_position_embeddings`",
        ),
        (
            r#"{"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}"#,
            "a rule for `full_attention` alone",
        ),
        (r#"{"rope_scaling": {"high_freq_factor": 1}}"#, "`high_freq_factor` is 1, expected more"),
        (
            r#"{"rope_parameters": {"partial_rotary_factor": 0.5}}"#,
            "`partial_rotary_factor` is 0.5",
        ),
        (r#"{"use_sliding_window": true}"#, "`use_sliding_window` is set; layers here see"),
        (r#"{"layer_types": ["full_attention", "sliding_attention"]}"#, "has `sliding_attention`"),
        (r#"{"no_rope_layers": [1, 0]}"#, "`no_rope_layers` is 2, expected an entry for each"),
        (r#"{"no_rope_layer_interval": 0}"#, "`no_rope_layer_interval` is 0"),
    ] {
        let error = Config::from_json(json).expect_err(json).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let config = Config { attention_dropout: 1.0, ..small() };
    assert!(build(&config, 1).expect_err("no probability").to_string().contains("probability"));
}

#[test]
fn tokens_that_do_not_fit_are_named() {
    let model = build(&small(), 1).expect("a model");
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::U32, &Cpu).expect("tokens");
    let mask = Tensor::ones((2, 4), DType::U32, &Cpu).expect("a mask");
    let padded = TextContext::padded(&mask).expect("a mask");
    for (tokens, context, expected) in [
        (zeros(&[3]), TextContext::new(), "the tokens have shape [3], expected [batch, length]"),
        (zeros(&[1, 11]), TextContext::new(), "texts of 11 tokens, but the model has 10 positions"),
        ((zeros(&[1, 1]) + 30.).unwrap(), TextContext::new(), "index 0 is 30"),
        (zeros(&[1, 4]), padded, "its shape is [2, 4], of tokens [1, 4]"),
    ] {
        let error = model.forward(tokens, &context).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn small() -> Config {
    Config {
        vocab_size: 30,
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 12,
        max_position_embeddings: 10,
        ..Default::default()
    }
}

fn build(config: &Config, seed: u64) -> Result<LlamaForCausalLM> {
    LlamaForCausalLM::new(config, Seeded::builder(seed, DType::F32, &Cpu))
}

/// A published file has no `lm_head.weight` where it is tied; what is saved has it under both names.
#[test]
fn a_tied_head_loads_from_one_name_and_saves_under_both() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let case = Case::open("llama_tied");
    let config = Config::from_json(&case.config)?;
    let from = LlamaForCausalLM::new(&config, case.weights())?;
    let [table, head] = ["model.embed_tokens.weight", "lm_head.weight"];
    let mut published: std::collections::HashMap<_, _> =
        from.named_tensors()?.into_iter().collect();
    assert!(published.remove(head).is_some());
    candle_core::safetensors::save(&published, folder.path().join("model.safetensors"))?;
    let into = build(&config, 9)?;
    let loaded = load_pretrained(&into, folder.path())?;
    assert!(loaded.is_complete(), "{loaded}");
    let context = TextContext::new();
    let scores = |net: &LlamaForCausalLM| net.forward(case.input("tokens"), &context);
    assert_eq!(numbers(&scores(&into)?), numbers(&scores(&from)?));

    let path = folder.path().join("again.safetensors");
    save_weights(&path, &into)?;
    let saved = load_weights(&path)?;
    assert_eq!(saved.len(), published.len() + 1);
    for (name, tensor) in &published {
        assert_eq!(numbers(&saved[name]), numbers(tensor), "{name}");
    }
    assert_eq!(numbers(&saved[head]), numbers(&saved[table]));
    assert!(load_pretrained(&build(&config, 10)?, &path)?.is_complete());
    // Without a tie, the head is a tensor of its own, which the published file lacks.
    let apart = Config { tie_word_embeddings: Some(false), ..config };
    let loaded = load_pretrained(&build(&apart, 9)?, folder.path())?;
    assert_eq!(loaded.missing, [head]);
    Ok(())
}
