//! DistilBERT is that of PyTorch, and its padding counts for nothing.

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::VarBuilder;
use freeze_core::init::Seeded;
use freeze_core::models::distilbert::{
    Config, DistilBertForSequenceClassification, DistilBertForTokenClassification, DistilBertModel,
};
use freeze_core::models::{ModelConfig, PretrainedConfig, TextContext};
use freeze_core::nn::cross_entropy;
use freeze_core::{Freezable, Result, Staged, Stages};

use crate::golden::{Case, assert_close, assert_within};
use crate::laws::{self, Subject};

#[test]
fn the_heads_are_pytorchs() {
    let case = Case::open("distilbert_text");
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = DistilBertForSequenceClassification::new(&config, 3, case.weights());
    let model = model.and_then(Freezable::into_trainable).expect("a model");
    let context = TextContext::padded(&case.input("mask")).expect("a mask");
    let logits = model.forward(case.input("tokens"), &context).expect("scores");
    assert_close(&logits, case.output("logits"), "logits");
    case.assert_loss(&model, &cross_entropy(&logits, &case.input("labels"), None).unwrap());

    let case = Case::open("distilbert_tokens");
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = DistilBertForTokenClassification::new(&config, 5, case.weights());
    let model = model.and_then(Freezable::into_trainable).expect("a model");
    let logits = model.forward(case.input("tokens"), &context).expect("scores");
    let labels = case.input("labels");
    case.assert_loss(&model, &cross_entropy(&logits, &labels, Some(-100)).unwrap());
}

fn small() -> Config {
    Config {
        vocab_size: 30,
        dim: 8,
        n_layers: 3,
        n_heads: 2,
        hidden_dim: 12,
        max_position_embeddings: 10,
        initializer_range: 0.4,
        ..Default::default()
    }
}

struct Classifier;

impl Classifier {
    fn mask() -> Tensor {
        Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], &Cpu).expect("a mask")
    }
}

impl Subject for Classifier {
    type Context = TextContext;
    type Model = DistilBertForSequenceClassification;

    fn build(&self, vb: VarBuilder<'_>) -> Result<Self::Model> {
        DistilBertForSequenceClassification::new(&small(), 3, vb)
    }

    fn input(&self, _: DType) -> Tensor {
        Tensor::new(&[[1u32, 5, 7, 2], [4, 29, 2, 0], [9, 2, 0, 0]], &Cpu).expect("tokens")
    }

    fn samples(&self) -> usize {
        3
    }

    fn context(&self, train: bool) -> TextContext {
        TextContext::padded(&Self::mask()).expect("a mask").train(train)
    }
}

#[test]
fn the_laws_hold() {
    laws::all(&Classifier);
}

#[test]
fn padding_counts_for_nothing() {
    let model = Classifier.seeded(DType::F32);
    let tokens = Classifier.input(DType::F32);
    let together = model.forward(tokens.clone(), &Classifier.context(false)).expect("scores");
    for (row, length) in [4, 3, 2].into_iter().enumerate() {
        let alone = tokens.narrow(0, row, 1).and_then(|row| row.narrow(1, 0, length)).unwrap();
        let alone = model.forward(alone, &TextContext::new()).expect("scores");
        let here = together.narrow(0, row, 1).expect("a row");
        assert_within(&here, &alone, 1e-5, &format!("row {row}"));
    }
}

#[test]
fn names_and_mistakes() {
    let model = DistilBertModel::new(&small(), Seeded::builder(5, DType::F32, &Cpu));
    let model = model.expect("a model");
    let stages: Vec<String> = model.stages().iter().map(ToString::to_string).collect();
    assert_eq!(stages[..2], ["embeddings", "transformer.layer.0"]);
    assert_eq!(model.leaf_before("transformer.layer.1").expect("a layer"), 3 + 8);
    let config = ModelConfig::from_json(r#"{"model_type": "distilbert", "dim": 24}"#);
    let expected = Config { dim: 24, ..Default::default() };
    assert_eq!(config.expect("settings"), ModelConfig::DistilBert(expected));
    let error = Config::from_json(r#"{"n_heads": 5}"#).expect_err("5 of 768").to_string();
    assert!(error.contains("`n_heads` is 5, expected a divisor"), "{error}");
    let tokens = Classifier.input(DType::F32);
    let typed = TextContext::new().token_types(tokens.zeros_like().expect("types"));
    let long = Tensor::zeros((1, 11), candle_core::DType::U32, &Cpu).expect("tokens");
    for (tokens, context, expected) in [
        (tokens.clone(), typed, "token types, but the model has none"),
        (tokens.flatten_all().expect("tokens"), TextContext::new(), "expected [batch, length]"),
        (long, TextContext::new(), "texts of 11 tokens, but the model has 10 positions"),
    ] {
        let error = model.forward(tokens, &context).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
