//! Llama and its relatives are those of PyTorch, and padding counts for nothing on either side.

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::VarBuilder;
use freeze_core::init::Seeded;
use freeze_core::models::llama::{Config, LlamaForCausalLM, ModelType, causal_lm_loss};
use freeze_core::models::{PretrainedConfig, TextContext};
use freeze_core::{Freezable, Freezer, Result, Staged, Stages, backward};

use crate::golden::{Case, assert_close, assert_within, numbers};
use crate::laws::{self, Subject};

#[test]
fn they_are_pytorchs() {
    for name in ["llama", "llama_tied", "qwen2", "qwen3", "smollm3"] {
        let case = Case::open(name);
        let config = Config::from_json(&case.config).expect("a configuration");
        let model = LlamaForCausalLM::new(&config, case.weights());
        let model = model.and_then(Freezable::into_trainable).expect("a model");
        let mask = case.input("mask");
        let context = TextContext::padded(&mask).expect("a mask");
        let logits = model.forward(case.input("tokens"), &context).expect("scores");
        // What padding computes has no meaning, there or here.
        let mask = mask.to_dtype(DType::F32).and_then(|mask| mask.unsqueeze(2)).unwrap();
        let shown = logits.broadcast_mul(&mask).expect("scores");
        assert_close(&shown, case.output("logits"), name);
        case.assert_loss(&model, &causal_lm_loss(&logits, &case.input("labels"), -100).unwrap());
    }
}

fn small() -> Config {
    Config {
        vocab_size: 30,
        hidden_size: 8,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        num_key_value_heads: Some(1),
        intermediate_size: 12,
        max_position_embeddings: 10,
        initializer_range: 0.4,
        ..Default::default()
    }
}

fn tied() -> Config {
    Config { tie_word_embeddings: Some(true), ..small() }
}

fn build(config: &Config) -> Result<LlamaForCausalLM> {
    LlamaForCausalLM::new(config, Seeded::builder(5, DType::F32, &Cpu))
}

const LENGTHS: [usize; 4] = [4, 3, 1, 4];

fn batch() -> (Tensor, Tensor) {
    let tokens = Tensor::new(&[[1u32, 5, 7, 2], [4, 29, 2, 0], [9, 0, 0, 0], [3, 3, 3, 3]], &Cpu);
    let mask = Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], &Cpu);
    (tokens.expect("tokens"), mask.expect("a mask"))
}

/// A relative with dropout.
struct Relative(ModelType);

impl Subject for Relative {
    type Context = TextContext;
    type Model = LlamaForCausalLM;

    fn build(&self, vb: VarBuilder<'_>) -> Result<Self::Model> {
        let Self(model_type) = *self;
        let (tie, head_dim) = (Some(false), Some(6));
        let config = Config { model_type, head_dim, tie_word_embeddings: tie, ..small() };
        LlamaForCausalLM::new(&Config { attention_dropout: 0.3, ..config }, vb)
    }

    fn input(&self, _: DType) -> Tensor {
        batch().0
    }

    fn samples(&self) -> usize {
        LENGTHS.len()
    }

    fn context(&self, train: bool) -> TextContext {
        TextContext::padded(&batch().1).expect("a mask").train(train)
    }
}

#[test]
fn the_laws_hold() {
    for model in [ModelType::Llama, ModelType::Qwen2, ModelType::Qwen3, ModelType::SmolLM3] {
        laws::all(&Relative(model));
    }
}

#[test]
fn padding_counts_for_nothing_on_either_side() {
    for model_type in [ModelType::Llama, ModelType::Qwen3, ModelType::SmolLM3] {
        let config = Config { model_type, head_dim: Some(4), no_rope_layer_interval: 2, ..small() };
        let model = build(&config).expect("a model");
        let (tokens, mask) = batch();
        for (row, length) in LENGTHS.into_iter().enumerate() {
            let alone = tokens.narrow(0, row, 1).and_then(|row| row.narrow(1, 0, length)).unwrap();
            let expected = model.forward(alone.clone(), &TextContext::new()).expect("scores");
            let context = TextContext::padded(&mask).expect("a mask");
            let right = model.forward(tokens.clone(), &context).expect("scores");
            let right = right.narrow(0, row, 1).and_then(|row| row.narrow(1, 0, length)).unwrap();
            assert_within(&right, &expected, 1e-5, &format!("{model_type:?}, row {row}"));
            let zeros = Tensor::zeros((1, 4 - length), DType::U32, &Cpu).unwrap();
            let padded = Tensor::cat(&[&zeros, &alone], 1).unwrap();
            let seen = Tensor::cat(&[&zeros, &alone.ones_like().unwrap()], 1).unwrap();
            let context = TextContext::padded(&seen).expect("a mask");
            let left = model.forward(padded, &context).expect("scores");
            let left = left.narrow(1, 4 - length, length).unwrap();
            assert_within(&left, &expected, 1e-5, &format!("{model_type:?}, left, row {row}"));
        }
    }
}

#[test]
fn a_token_sees_nothing_after_it() {
    let model = build(&small()).expect("a model");
    let scores = |tokens: &[u32; 4]| {
        let tokens = Tensor::new(&[*tokens], &Cpu).expect("tokens");
        model.forward(tokens, &TextContext::new()).and_then(|s| s.squeeze(0)).expect("scores")
    };
    let (one, other) = (scores(&[1, 5, 7, 2]), scores(&[1, 5, 8, 2]));
    let row = |of: &Tensor, place| numbers(&of.narrow(0, place, 1).expect("a row"));
    for place in 0..4 {
        assert_eq!(row(&one, place) == row(&other, place), place < 2, "{place}");
    }
}

#[test]
fn leaves_and_stages_are_in_the_order_of_the_forward() {
    let model = build(&small()).expect("a model");
    let stages: Vec<String> = model.stages().iter().map(ToString::to_string).collect();
    assert_eq!(stages[..2], ["model.embed_tokens", "model.layers.0"]);
    assert_eq!(stages[3..], ["model.layers.2", "model.norm", "lm_head"]);
    assert_eq!(model.leaf_before("model.layers.2").expect("a layer"), 1 + 2 * 9);
    let leaves = model.leaves().expect("leaves");
    let paths: Vec<&str> = leaves[1..10].iter().map(|leaf| leaf.path.as_str()).collect();
    let attention =
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| format!("self_attn.{name}"));
    let perceptron = ["gate_proj", "up_proj", "down_proj"].map(|name| format!("mlp.{name}"));
    let (before, after) = ("input_layernorm".to_string(), "post_attention_layernorm".to_string());
    let expected = [&[before][..], &attention, &[after], &perceptron].concat();
    let expected: Vec<String> =
        expected.iter().map(|name| format!("model.layers.0.{name}")).collect();
    assert_eq!(paths, expected);
    assert_eq!(leaves.len(), 1 + 3 * 9 + 2);
    let qwen = Config { model_type: ModelType::Qwen3, head_dim: Some(4), ..small() };
    assert_eq!(build(&qwen).and_then(|net| net.leaf_before("model.layers.1")).unwrap(), 1 + 11);
}

/// The table trains as long as the head does, wherever the front ends.
#[test]
fn a_tied_head_trains_with_the_table() {
    let mut net = Freezer::new(build(&tied()).expect("a model")).expect("a freezer");
    let vars = net.whole().named_vars().expect("variables");
    assert!(vars.iter().all(|(name, _)| name != "lm_head.weight"), "one parameter, one variable");
    let front = net.whole().leaf_before("model.norm").expect("a leaf");
    net.freeze_front(front, &mut []).expect("frozen");
    let (tokens, mask) = batch();
    let context = TextContext::padded(&mask).expect("a mask");
    let logits = net.forward(tokens.clone(), &context).expect("scores");
    let grads = backward(&causal_lm_loss(&logits, &tokens, 0).expect("a loss")).expect("gradients");
    let trained: Vec<&str> = vars
        .iter()
        .filter(|(_, var)| grads.get(var).is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(trained, ["model.embed_tokens.weight", "model.norm.weight"]);
}

#[test]
fn the_loss_is_of_the_next_token() {
    let mut scores = [[0f32; 3]; 4];
    scores[0][2] = 9.;
    scores[1][1] = 9.;
    let logits = Tensor::new(&scores, &Cpu).and_then(|scores| scores.unsqueeze(0)).expect("scores");
    let loss = |labels: &[i64; 4], ignored| {
        let labels = Tensor::new(&[*labels], &Cpu).expect("labels");
        causal_lm_loss(&logits, &labels, ignored).map(|loss| numbers(&loss)[0])
    };
    let sure = (1. + 2. * (-9f64).exp()).ln();
    for (labels, ignored, expected) in [
        ([0, 2, 1, -100], -100, sure),
        ([-100, 2, 1, -100], -100, sure),
        ([0, 2, 1, 0], -100, (2. * sure + 3f64.ln()) / 3.),
        ([0, 2, 1, 0], 0, sure),
    ] {
        let found = loss(&labels, ignored).expect("a loss");
        assert!((found - expected).abs() < 1e-6, "{labels:?}: {found} {expected}");
    }
    let error = loss(&[1, 0, 0, 0], 0).expect_err("no label counts").to_string();
    assert!(error.contains("none counts"), "{error}");
    let one = Tensor::new(&[[1u32]], &Cpu).expect("a label");
    let error = causal_lm_loss(&logits.narrow(1, 0, 1).unwrap(), &one, -100).expect_err("no next");
    assert!(error.to_string().contains("none counts"), "{error}");
    let flat = one.flatten_all().expect("a label");
    let error = causal_lm_loss(&logits, &flat, -100).expect_err("rank 1").to_string();
    assert!(error.contains("labels of shape [1], expected [batch, length]"), "{error}");
    assert!(loss(&[0, 3, 0, 0], -100).is_err(), "a label out of range");
}
