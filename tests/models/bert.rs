//! BERT is that of PyTorch, and its padding counts for nothing.

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::VarBuilder;
use freeze_core::init::Seeded;
use freeze_core::models::bert::{
    BertForSequenceClassification, BertForTokenClassification, BertModel, Config,
};
use freeze_core::models::{Pooling, PretrainedConfig, TextContext, mean_pool};
use freeze_core::nn::cross_entropy;
use freeze_core::{Freezable, Result, Staged};

use crate::golden::{Case, assert_close, assert_within, numbers};
use crate::laws::{self, Subject};

fn context(case: &Case) -> TextContext {
    let context = TextContext::padded(&case.input("mask")).expect("a mask");
    context.token_types(case.input("types"))
}

#[test]
fn the_encoder_is_pytorchs() {
    let case = Case::open("bert");
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = BertModel::new(&config, case.weights()).and_then(Freezable::into_trainable);
    let model = model.expect("a model");
    let hidden = model.forward(case.input("tokens"), &context(&case)).expect("vectors");
    let mask = case.input("mask").to_dtype(DType::F32).and_then(|mask| mask.unsqueeze(2)).unwrap();
    // What padding computes has no meaning, there or here.
    let shown = |hidden: &Tensor| hidden.broadcast_mul(&mask).expect("vectors");
    assert_close(&shown(&hidden), &shown(case.output("hidden")), "hidden");
    let loss = shown(&hidden).sqr().and_then(|squares| squares.mean_all()).expect("a loss");
    case.assert_loss(&model, &loss);
}

#[test]
fn the_heads_are_pytorchs() {
    let case = Case::open("bert_text");
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = BertForSequenceClassification::new(&config, 3, Pooling::Cls, case.weights());
    let model = model.and_then(Freezable::into_trainable).expect("a model");
    let logits = model.forward(case.input("tokens"), &context(&case)).expect("scores");
    assert_close(&logits, case.output("logits"), "logits");
    case.assert_loss(&model, &cross_entropy(&logits, &case.input("labels"), None).unwrap());

    let case = Case::open("bert_tokens");
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = BertForTokenClassification::new(&config, 5, case.weights());
    let model = model.and_then(Freezable::into_trainable).expect("a model");
    let logits = model.forward(case.input("tokens"), &context(&case)).expect("scores");
    let labels = case.input("labels");
    case.assert_loss(&model, &cross_entropy(&logits, &labels, Some(-100)).unwrap());
}

/// A classifier of the mean of all tokens, with every dropout on in training.
struct Classifier;

pub(crate) fn small() -> Config {
    Config {
        vocab_size: 30,
        hidden_size: 8,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        intermediate_size: 12,
        max_position_embeddings: 10,
        initializer_range: 0.4,
        ..Default::default()
    }
}

fn batch() -> (Tensor, Tensor) {
    let tokens = Tensor::new(&[[1u32, 5, 7, 2], [4, 29, 2, 0], [9, 2, 0, 0], [3, 3, 3, 3]], &Cpu);
    let mask = Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], &Cpu);
    (tokens.expect("tokens"), mask.expect("a mask"))
}

impl Subject for Classifier {
    type Context = TextContext;
    type Model = BertForSequenceClassification;

    fn build(&self, vb: VarBuilder<'_>) -> Result<Self::Model> {
        BertForSequenceClassification::new(&small(), 3, Pooling::Mean, vb)
    }

    fn input(&self, _: DType) -> Tensor {
        batch().0
    }

    fn samples(&self) -> usize {
        4
    }

    fn context(&self, train: bool) -> TextContext {
        TextContext::padded(&batch().1).expect("a mask").train(train)
    }
}

#[test]
fn the_laws_hold() {
    laws::all(&Classifier);
}

#[test]
fn padding_counts_for_nothing() {
    let (tokens, mask) = batch();
    for pooling in [Pooling::Cls, Pooling::Mean] {
        let vb = Seeded::builder(5, DType::F32, &Cpu);
        let model = BertForSequenceClassification::new(&small(), 3, pooling, vb).expect("a model");
        let context = TextContext::padded(&mask).expect("a mask");
        let together = model.forward(tokens.clone(), &context).expect("scores");
        for (row, length) in [4, 3, 2, 4].into_iter().enumerate() {
            let alone = tokens.narrow(0, row, 1).and_then(|row| row.narrow(1, 0, length)).unwrap();
            let alone = model.forward(alone, &TextContext::new()).expect("scores");
            let here = together.narrow(0, row, 1).expect("a row");
            assert_within(&here, &alone, 1e-5, &format!("{pooling:?}, row {row}"));
        }
    }
}

/// In bf16 a sum of ones that is kept in bf16 does not get beyond 256.
#[test]
fn a_mean_of_halves_is_computed_in_f32() {
    for dtype in [DType::BF16, DType::F16, DType::F32, DType::F64] {
        let xs = Tensor::ones((2, 5000, 3), dtype, &Cpu).expect("vectors");
        let mask = Tensor::ones((2, 5000), DType::U32, &Cpu).expect("a mask");
        for mask in [None, Some(&mask)] {
            let mean = mean_pool(&xs, mask).expect("a mean");
            assert_eq!((mean.dims(), mean.dtype()), (&[2, 3][..], dtype));
            assert_eq!(numbers(&mean), [1.0; 6], "{dtype:?}, {mask:?}");
        }
    }
}

#[test]
fn leaves_and_stages_are_in_the_order_of_the_forward() {
    let vb = Seeded::builder(5, DType::F32, &Cpu);
    let model = BertForSequenceClassification::new(&small(), 3, Pooling::Cls, vb).expect("a model");
    let stages: Vec<String> =
        freeze_core::Stages::stages(&model).iter().map(ToString::to_string).collect();
    assert_eq!(stages[0], "bert.embeddings");
    assert_eq!(stages[1..3], ["bert.encoder.layer.0", "bert.encoder.layer.1"]);
    assert_eq!(stages[4..], ["bert.pooler.dense", "classifier"]);
    assert_eq!(model.leaf_before("bert.encoder.layer.2").expect("a layer"), 4 + 2 * 8);
    assert_eq!(model.leaves().expect("leaves").len(), 4 + 3 * 8 + 2);
    let short = Config { type_vocab_size: 0, ..small() };
    let vb = Seeded::builder(5, DType::F32, &Cpu);
    assert_eq!(BertModel::new(&short, vb).and_then(|net| net.leaf_before("encoder")).unwrap(), 3);
}

#[test]
fn mistakes_are_named() {
    let build =
        |config: Config| BertModel::new(&config, Seeded::builder(5, DType::F32, &Cpu)).map(|_| ());
    for (config, expected) in [
        (Config { num_attention_heads: 3, ..small() }, "`num_attention_heads` is 3"),
        (Config { num_attention_heads: 0, ..small() }, "`num_attention_heads` is 0"),
        (Config { hidden_size: 0, ..small() }, "`hidden_size` is 0"),
        (Config { hidden_dropout_prob: 1.0, ..small() }, "probability"),
    ] {
        let error = build(config).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let model = BertModel::new(&small(), Seeded::builder(5, DType::F32, &Cpu)).expect("a model");
    let (tokens, mask) = batch();
    let context = TextContext::padded(&mask).expect("a mask");
    let flat = tokens.flatten_all().expect("tokens");
    let long = Tensor::zeros((1, 11), DType::U32, &Cpu).expect("tokens");
    let strange = Tensor::new(&[[30u32]], &Cpu).expect("tokens");
    for (tokens, context, expected) in [
        (flat, TextContext::new(), "expected [batch, length]"),
        (long, TextContext::new(), "texts of 11 tokens, but the model has 10 positions"),
        (strange, TextContext::new(), "30"),
        (tokens.narrow(0, 0, 2).expect("tokens"), context, "of tokens [2, 4]"),
    ] {
        let error = model.forward(tokens, &context).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = TextContext::padded(&mask.flatten_all().unwrap()).expect_err("rank 1");
    assert!(error.to_string().contains("expected [batch, length]"), "{error}");
    let labels = |n| {
        let vb = Seeded::builder(5, DType::F32, &Cpu);
        BertForTokenClassification::new(&small(), n, vb).map(|_| ())
    };
    assert!(labels(0).expect_err("no label").to_string().contains("`labels` is 0"));
}
