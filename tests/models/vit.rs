//! ViT is that of PyTorch.

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::VarBuilder;
use freeze_core::checkpoint::save_weights;
use freeze_core::init::Seeded;
use freeze_core::models::vit::{Config, ViTForImageClassification, ViTModel};
use freeze_core::models::{ImageContext, PretrainedConfig, load_pretrained};
use freeze_core::nn::cross_entropy;
use freeze_core::{Freezable, Result, Staged, Stages};

use crate::golden::{Case, assert_close, numbers};
use crate::images::{EVAL, TRAIN, images, seeded};
use crate::laws::{self, Subject};

#[test]
fn the_encoder_is_pytorchs() {
    let case = Case::open("vit_encoder");
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = ViTModel::new(&config, case.weights()).and_then(Freezable::into_trainable);
    let model = model.expect("a model");
    let hidden = model.forward(case.input("images"), &EVAL).expect("states");
    assert_close(&hidden, case.output("hidden"), "hidden");
    case.assert_loss(&model, &hidden.sqr().and_then(|squares| squares.mean_all()).unwrap());
}

#[test]
fn the_classifier_is_pytorchs() {
    let case = Case::open("vit_classifier");
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = ViTForImageClassification::new(&config, 3, case.weights());
    let model = model.and_then(Freezable::into_trainable).expect("a model");
    let logits = model.forward(case.input("images"), &EVAL).expect("scores");
    assert_close(&logits, case.output("logits"), "logits");
    case.assert_loss(&model, &cross_entropy(&logits, &case.input("labels"), None).unwrap());
}

struct Classifier;

fn small() -> Config {
    Config {
        hidden_size: 8,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        intermediate_size: 12,
        image_size: 6,
        patch_size: 2,
        num_channels: 2,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.2,
        initializer_range: 0.4,
        ..Default::default()
    }
}

impl Subject for Classifier {
    type Context = ImageContext;
    type Model = ViTForImageClassification;

    fn build(&self, vb: VarBuilder<'_>) -> Result<Self::Model> {
        ViTForImageClassification::new(&small(), 3, vb)
    }

    fn input(&self, dtype: DType) -> Tensor {
        images(&[4, 2, 6, 6]).to_dtype(dtype).expect("images")
    }

    fn samples(&self) -> usize {
        4
    }

    fn context(&self, train: bool) -> ImageContext {
        ImageContext { train }
    }
}

#[test]
fn the_laws_hold() {
    laws::all(&Classifier);
}

#[test]
fn leaves_and_stages_are_in_the_order_of_the_forward() -> Result<()> {
    let model = ViTForImageClassification::new(&small(), 3, seeded())?;
    let stages: Vec<String> = model.stages().iter().map(ToString::to_string).collect();
    let layer = |i| format!("vit.encoder.layer.{i}");
    let expected =
        ["vit.embeddings", &layer(0), &layer(1), &layer(2), "vit.layernorm", "classifier"];
    assert_eq!(stages, expected);
    assert_eq!(model.leaf_before("vit.encoder.layer.2")?, 3 + 2 * 8);
    assert_eq!(model.leaves()?.len(), 3 + 3 * 8 + 2);
    let bare = ViTModel::new(&small(), seeded())?;
    assert_eq!(bare.leaf_before("encoder.layer.0")?, 3);
    let paths: Vec<String> = bare.leaves()?.into_iter().map(|leaf| leaf.path).collect();
    assert_eq!(
        paths[..3],
        [
            "embeddings.cls_token",
            "embeddings.patch_embeddings.projection",
            "embeddings.position_embeddings"
        ]
    );
    Ok(())
}

/// A file of the encoder, with a pooler that has no counterpart here.
#[test]
fn an_encoders_file_fits_a_classifier() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    save_weights(&path, &ViTModel::new(&small(), seeded())?)?;
    let mut tensors = candle_core::safetensors::load(&path, &Cpu)?;
    tensors.insert("pooler.dense.weight".into(), Tensor::zeros((8, 8), DType::F32, &Cpu)?);
    candle_core::safetensors::save(&tensors, &path)?;
    let vb = Seeded::builder(6, DType::F32, &Cpu);
    let model = ViTForImageClassification::new(&small(), 3, vb)?;
    let loaded = load_pretrained(&model, &path)?;
    assert_eq!(loaded.missing, ["classifier.weight", "classifier.bias"]);
    assert_eq!(loaded.unexpected.len(), 1, "{loaded}");
    for (name, found) in model.named_tensors()? {
        let Some(name) = name.strip_prefix("vit.") else { continue };
        assert_eq!(numbers(&found), numbers(&tensors[name]), "{name}");
    }
    Ok(())
}

#[test]
fn dropout_is_on_in_training_alone() -> Result<()> {
    let (model, xs) = (ViTModel::new(&small(), seeded())?, images(&[1, 2, 6, 6]));
    let run = |context| -> Result<Vec<f32>> {
        Ok(model.forward(xs.clone(), &context)?.flatten_all()?.to_vec1()?)
    };
    assert_eq!(run(EVAL)?, run(EVAL)?);
    let (first, second) = (run(TRAIN)?, run(TRAIN)?);
    assert!(first != second && first != run(EVAL)?, "no element is dropped");
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    for (config, expected) in [
        (Config { num_attention_heads: 3, ..small() }, "`num_attention_heads` is 3"),
        (Config { num_attention_heads: 0, ..small() }, "`num_attention_heads` is 0"),
        (Config { hidden_size: 0, ..small() }, "`hidden_size` is 0"),
        (Config { intermediate_size: 0, ..small() }, "`intermediate_size` is 0"),
        (Config { num_hidden_layers: 0, ..small() }, "`num_hidden_layers` is 0"),
        (Config { num_channels: 0, ..small() }, "`num_channels` is 0"),
        (Config { image_size: 0, ..small() }, "`image_size` is 0"),
        (Config { patch_size: 4, ..small() }, "`patch_size` is 4, expected a divisor of"),
        (Config { patch_size: 0, ..small() }, "`patch_size` is 0"),
        (Config { hidden_dropout_prob: 1.0, ..small() }, "probability"),
    ] {
        let error = ViTModel::new(&config, seeded()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = ViTForImageClassification::new(&small(), 0, seeded()).expect_err("no label");
    assert!(error.to_string().contains("`labels` is 0"), "{error}");
    let model = ViTModel::new(&small(), seeded())?;
    for shape in [&[2, 6, 6][..], &[1, 3, 6, 6], &[1, 2, 8, 8], &[1, 2, 6, 4]] {
        let error = model.forward(images(shape), &EVAL).expect_err("a shape").to_string();
        assert!(error.contains(&format!("{shape:?}, expected [batch, 2, 6, 6]")), "{error}");
    }
    let ints = images(&[1, 2, 6, 6]).to_dtype(DType::U32)?;
    assert!(model.forward(ints, &EVAL).is_err());
    Ok(())
}
