//! DINOv2 is that of PyTorch.

use candle_core::{DType, Device::Cpu, Tensor, Var};
use candle_nn::VarBuilder;
use freeze_core::audit::audit;
use freeze_core::checkpoint::save_weights;
use freeze_core::models::dinov2::{Config, Dinov2ForImageClassification, Dinov2Model};
use freeze_core::models::{ImageContext, PretrainedConfig, load_pretrained};
use freeze_core::nn::cross_entropy;
use freeze_core::{Freezable, Freezer, Result, Staged, Stages};

use crate::golden::{Case, assert_close, numbers};
use crate::images::{EVAL, TRAIN, images, seeded};
use crate::laws::{self, Subject};

#[test]
fn the_encoder_is_pytorchs() {
    let case = Case::open("dinov2_encoder");
    // No forward reads the mask token, so it has no gradient.
    let config = Config { use_mask_token: false, ..Config::from_json(&case.config).unwrap() };
    let model = Dinov2Model::new(&config, case.weights()).and_then(Freezable::into_trainable);
    let model = model.expect("a model");
    let hidden = model.forward(case.input("images"), &EVAL).expect("states");
    assert_close(&hidden, case.output("hidden"), "hidden");
    case.assert_loss(&model, &hidden.sqr().and_then(|squares| squares.mean_all()).unwrap());
}

/// Plain layers with images of the config's size, gated ones with images of another.
#[test]
fn the_classifiers_are_pytorchs() {
    for name in ["dinov2_classifier", "dinov2_gated"] {
        let case = Case::open(name);
        let config = Config { use_mask_token: false, ..Config::from_json(&case.config).unwrap() };
        let model = Dinov2ForImageClassification::new(&config, 3, case.weights());
        let model = model.and_then(Freezable::into_trainable).expect("a model");
        let logits = model.forward(case.input("images"), &EVAL).expect("scores");
        assert_close(&logits, case.output("logits"), name);
        case.assert_loss(&model, &cross_entropy(&logits, &case.input("labels"), None).unwrap());
    }
}

/// A classifier of either form, of images of either size.
struct Classifier {
    config: Config,
    image: [usize; 2],
}

fn small() -> Config {
    Config {
        hidden_size: 8,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        mlp_ratio: 1.5,
        image_size: 6,
        patch_size: 2,
        num_channels: 2,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.2,
        drop_path_rate: 0.2,
        layerscale_value: 0.7,
        initializer_range: 0.4,
        use_mask_token: false,
        ..Default::default()
    }
}

impl Subject for Classifier {
    type Context = ImageContext;
    type Model = Dinov2ForImageClassification;

    fn build(&self, vb: VarBuilder<'_>) -> Result<Self::Model> {
        Dinov2ForImageClassification::new(&self.config, 3, vb)
    }

    fn input(&self, dtype: DType) -> Tensor {
        let [height, width] = self.image;
        images(&[4, 2, height, width]).to_dtype(dtype).expect("images")
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
    laws::all(&Classifier { config: small(), image: [6, 6] });
    let gated = Config { use_swiglu_ffn: true, ..small() };
    laws::all(&Classifier { config: gated, image: [4, 8] });
}

#[test]
fn leaves_and_stages_are_in_the_order_of_the_forward() -> Result<()> {
    let model = Dinov2ForImageClassification::new(&small(), 3, seeded())?;
    let stages: Vec<String> = model.stages().iter().map(ToString::to_string).collect();
    let layer = |i| format!("dinov2.encoder.layer.{i}");
    let expected =
        ["dinov2.embeddings", &layer(0), &layer(1), &layer(2), "dinov2.layernorm", "classifier"];
    assert_eq!(stages, expected);
    assert_eq!(model.leaf_before("dinov2.encoder.layer.2")?, 3 + 2 * 10);
    assert_eq!(model.leaves()?.len(), 3 + 3 * 10 + 2);
    for (gated, expected) in [(false, ["fc1", "fc2"]), (true, ["weights_in", "weights_out"])] {
        let config = Config { use_swiglu_ffn: gated, ..small() };
        let leaves = Dinov2Model::new(&config, seeded())?.leaves()?;
        let mlp = leaves.iter().filter_map(|leaf| leaf.path.strip_prefix("encoder.layer.1.mlp."));
        assert_eq!(mlp.collect::<Vec<_>>(), expected);
    }
    Ok(())
}

#[test]
fn the_gated_form_is_as_wide_as_in_published_files() -> Result<()> {
    for (size, ratio, width) in [(8, 1.5, 8), (12, 4.0, 32), (24, 4.0, 64), (30, 4.0, 80)] {
        let config =
            Config { hidden_size: size, mlp_ratio: ratio, use_swiglu_ffn: true, ..small() };
        let model = Dinov2Model::new(&config, seeded())?;
        let tensors = model.named_tensors()?;
        let out = tensors.iter().find(|(name, _)| name.ends_with("weights_out.weight"));
        assert_eq!(out.map(|(_, weight)| weight.dims()), Some(&[size, width][..]));
    }
    Ok(())
}

/// It is loaded and saved, and no gradient is missed.
#[test]
fn the_mask_token_rests() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let config = Config { use_mask_token: true, ..small() };
    let net = Freezer::new(Dinov2Model::new(&config, seeded())?)?;
    let token = |net: &Freezer<Dinov2Model>| -> Result<Var> {
        let mut vars = net.named_vars().into_iter();
        Ok(vars.find(|(name, _)| name == "embeddings.mask_token").expect("a mask token").1)
    };
    assert!(net.trained_vars().iter().all(|var| var.id() != token(&net).unwrap().id()));
    let loss = |net: &Dinov2Model| net.forward(images(&[1, 2, 6, 6]), &EVAL)?.sqr()?.mean_all();
    audit(&net, loss)?.ensure_clean()?;

    token(&net)?.set(&Tensor::full(2f32, (1, 8), &Cpu)?)?;
    save_weights(&path, &net)?;
    let again = Freezer::new(Dinov2Model::new(&config, seeded())?)?;
    assert_eq!(numbers(token(&again)?.as_tensor()), [0.0; 8]);
    assert!(load_pretrained(&again, &path)?.is_complete());
    assert_eq!(numbers(token(&again)?.as_tensor()), [2.0; 8]);
    Ok(())
}

/// Each block adds twice as much or nothing, for a whole sample.
#[test]
fn stochastic_depth_drops_samples() -> Result<()> {
    let config = Config {
        drop_path_rate: 0.5,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        num_hidden_layers: 1,
        ..small()
    };
    let model = Dinov2Model::new(&config, seeded())?;
    // One image, often: each is dropped on its own.
    let xs = images(&[1, 2, 6, 6]).repeat((64, 1, 1, 1))?;
    let states = model.forward(xs, &TRAIN)?;
    let mut seen: Vec<Vec<f64>> = Vec::new();
    for sample in 0..64 {
        let state = numbers(&states.get(sample)?);
        let known = |old: &Vec<f64>| old.iter().zip(&state).all(|(a, b)| (a - b).abs() < 1e-5);
        if !seen.iter().any(known) {
            seen.push(state);
        }
    }
    assert_eq!(seen.len(), 4, "two halves of a block, kept or dropped");
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    for (config, expected) in [
        (Config { num_attention_heads: 3, ..small() }, "`num_attention_heads` is 3"),
        (Config { hidden_size: 0, ..small() }, "`hidden_size` is 0"),
        (
            Config { mlp_ratio: 0.1, ..small() },
            "`mlp_ratio` is 0.1, expected a width of at least 1",
        ),
        (Config { mlp_ratio: f64::NAN, ..small() }, "`mlp_ratio` is NaN"),
        (Config { num_hidden_layers: 0, ..small() }, "`num_hidden_layers` is 0"),
        (Config { patch_size: 4, ..small() }, "`patch_size` is 4, expected a divisor of"),
        (Config { drop_path_rate: 1.0, ..small() }, "probability"),
    ] {
        let error = Dinov2Model::new(&config, seeded()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = Dinov2ForImageClassification::new(&small(), 0, seeded()).expect_err("no label");
    assert!(error.to_string().contains("`labels` is 0"), "{error}");
    let model = Dinov2Model::new(&small(), seeded())?;
    for shape in [&[2, 6, 6][..], &[1, 3, 6, 6], &[1, 2, 7, 6], &[1, 2, 6, 0]] {
        let error = model.forward(images(shape), &EVAL).expect_err("a shape").to_string();
        let expected = format!(
            "{shape:?}, expected [batch, 2, height, width] with sides of whole patches of 2"
        );
        assert!(error.contains(&expected), "{error}");
    }
    Ok(())
}

/// That of the embeddings and of what attention gives, as in transformers; the MLPs have none.
#[test]
fn every_block_drops_what_attention_gives() -> Result<()> {
    let dropped = |hidden_dropout_prob, from: usize| -> Result<bool> {
        let config = Config {
            hidden_dropout_prob,
            attention_probs_dropout_prob: 0.0,
            drop_path_rate: 0.0,
            ..small()
        };
        let net = Dinov2Model::new(&config, seeded())?;
        let stage = net.stages()[from];
        let xs = net.forward_to(stage, images(&[2, 2, 6, 6]), &EVAL)?;
        let [eval, train] =
            [EVAL, TRAIN].map(|context| net.forward_from(stage, xs.clone(), &context));
        Ok(numbers(&eval?) != numbers(&train?))
    };
    for (p, from, expected) in
        [(0.0, 0, false), (0.5, 0, true), (0.5, 1, true), (0.5, 3, true), (0.5, 4, false)]
    {
        assert_eq!(dropped(p, from)?, expected, "{p} from stage {from}");
    }
    Ok(())
}

/// Of a sum of ones a half stops at 256 (`bf16`) or 2048 (`f16`).
#[test]
fn the_class_token_gets_the_gradients_of_large_batches() -> Result<()> {
    for dtype in [DType::BF16, DType::F16, DType::F32] {
        let vb = freeze_core::init::Seeded::builder(5, dtype, &Cpu);
        let config = Config { hidden_dropout_prob: 0.0, num_hidden_layers: 1, ..small() };
        let net = Dinov2Model::new(&config, vb)?;
        let batch = 3000;
        let xs = Tensor::zeros((batch, 2, 6, 6), dtype, &Cpu)?;
        let embedded = net.forward_to(net.stages()[1], xs, &EVAL)?;
        let class = embedded.narrow(1, 0, 1)?.to_dtype(DType::F32)?;
        let grads = freeze_core::backward(&class.sum_all()?)?;
        let (_, token) = &net.named_vars()?[0];
        let gradient = grads.get(token).expect("a gradient").to_dtype(DType::F32)?;
        let expected = Tensor::new(batch as f32, &Cpu)?.to_dtype(dtype)?.to_dtype(DType::F32)?;
        assert_eq!(
            numbers(&gradient),
            vec![f64::from(expected.to_scalar::<f32>()?); 8],
            "{dtype:?}"
        );
    }
    Ok(())
}
