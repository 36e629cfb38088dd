//! ResNet is that of PyTorch, in training and in evaluation.

use std::collections::HashMap;

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::VarBuilder;
use freeze_core::checkpoint::save_weights;
use freeze_core::init::Seeded;
use freeze_core::models::resnet::{Config, LayerType, ResNet, torchvision_name};
use freeze_core::models::{ImageContext, ModelConfig, PretrainedConfig, load_pretrained};
use freeze_core::nn::cross_entropy;
use freeze_core::{BatchNormPolicy, Freezable, Freezer, Result, Staged, Stages};

use crate::golden::{Case, assert_close, numbers};
use crate::images::{EVAL, TRAIN, images, seeded};
use crate::laws::{self, Subject};

#[test]
fn evaluation_is_pytorchs() {
    for name in ["resnet_basic", "resnet_paper"] {
        computes(name, EVAL);
    }
}

#[test]
fn training_is_pytorchs_and_moves_the_statistics_as_it_does() {
    for name in ["resnet_basic_train", "resnet_bottleneck"] {
        let (case, model) = computes(name, TRAIN);
        let tensors = model.named_tensors().expect("tensors").into_iter();
        let statistics: Vec<_> = tensors.filter(|(name, _)| name.contains("running_")).collect();
        assert!(statistics.len() >= 2 * 10, "{name}");
        for (of, tensor) in statistics {
            assert_close(&tensor, case.output(&of), &of);
        }
    }
}

#[track_caller]
fn computes(name: &str, context: ImageContext) -> (Case, ResNet) {
    let case = Case::open(name);
    let config = Config::from_json(&case.config).expect("a configuration");
    let model = ResNet::new(&config, case.weights()).and_then(Freezable::into_trainable);
    let model = model.expect("a model");
    let logits = model.forward(case.input("images"), &context).expect("scores");
    assert_close(&logits, case.output("logits"), name);
    case.assert_loss(&model, &cross_entropy(&logits, &case.input("labels"), None).unwrap());
    (case, model)
}

struct Classifier(LayerType);

fn small(layer_type: LayerType) -> Config {
    Config {
        num_channels: 2,
        embedding_size: 4,
        hidden_sizes: [4, 8, 8, 12],
        depths: [1, 2, 1, 1],
        layer_type,
        ..Config::resnet18(3)
    }
}

impl Subject for Classifier {
    type Context = ImageContext;
    type Model = ResNet;

    fn build(&self, vb: VarBuilder<'_>) -> Result<ResNet> {
        ResNet::new(&small(self.0), vb)
    }

    fn input(&self, dtype: DType) -> Tensor {
        images(&[4, 2, 34, 33]).to_dtype(dtype).expect("images")
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
    laws::all(&Classifier(LayerType::Basic));
    laws::all(&Classifier(LayerType::Bottleneck));
}

/// The numbers that the paper's table and published files have.
#[test]
fn each_depth_has_its_parameters() -> Result<()> {
    let vb = VarBuilder::zeros(DType::F32, &Cpu);
    for (config, parameters, convolutions) in [
        (Config::resnet18(1000), 11_689_512, 20),
        (Config::resnet34(1000), 21_797_672, 36),
        (Config::resnet50(1000), 25_557_032, 53),
        (Config::resnet101(1000), 44_549_160, 104),
        (Config::resnet152(1000), 60_192_808, 155),
    ] {
        let leaves = ResNet::new(&config, vb.clone())?.leaves()?;
        let count: usize = leaves.iter().map(|leaf| leaf.elements()).sum();
        assert_eq!(count, parameters);
        assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "Conv2d").count(), convolutions);
    }
    Ok(())
}

#[test]
fn leaves_and_stages_are_in_the_order_of_the_forward() -> Result<()> {
    let model = ResNet::new(&small(LayerType::Basic), seeded())?;
    let stages: Vec<String> = model.stages().iter().map(ToString::to_string).collect();
    let expected =
        ["conv1", "bn1", "layer1.0", "layer2.0", "layer2.1", "layer3.0", "layer4.0", "fc"];
    assert_eq!(stages, expected);
    assert_eq!(model.leaf_before("layer2")?, 2 + 4);
    let paths: Vec<String> = model.leaves()?.into_iter().map(|leaf| leaf.path).collect();
    let block = ["conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1"];
    assert_eq!(paths[6..12], block.map(|leaf| format!("layer2.0.{leaf}")));
    Ok(())
}

/// A frozen batch norm follows the caller, or rests, as the policy says.
#[test]
fn frozen_statistics_follow_the_policy() -> Result<()> {
    for (policy, rests) in [(BatchNormPolicy::AsCaller, false), (BatchNormPolicy::Inference, true)]
    {
        let mut net = Freezer::new(ResNet::new(&small(LayerType::Bottleneck), seeded())?)?;
        net.set_batch_norm(policy)?;
        net.freeze_front(net.whole().leaf_before("layer3")?, &mut [])?;
        let before: HashMap<String, Vec<f64>> =
            net.named_tensors()?.into_iter().map(|(name, it)| (name, numbers(&it))).collect();
        net.forward(images(&[2, 2, 40, 40]), &TRAIN)?;
        for (name, tensor) in net.named_tensors()? {
            let is_frozen = !["layer3", "layer4", "fc"].iter().any(|it| name.starts_with(it));
            let moves = name.contains("running_") && !(is_frozen && rests);
            assert_eq!(numbers(&tensor) != before[&name], moves, "{policy:?}: {name}");
        }
    }
    Ok(())
}

#[test]
fn settings_are_read_from_both_kinds_of_files() -> Result<()> {
    let timm = r#"{"architecture": "resnet34", "num_classes": 37, "num_features": 512,
        "pretrained_cfg": {"tag": "a1_in1k", "input_size": [3, 224, 224]}}"#;
    assert_eq!(Config::from_json(timm)?, Config::resnet34(37));
    let labels: serde_json::Map<String, serde_json::Value> =
        (0..1000).map(|label| (label.to_string(), "a name".into())).collect();
    let hugging_face = serde_json::json!({
        "model_type": "resnet", "architectures": ["ResNetForImageClassification"], "depths": [2, 2, 2, 2],
        "downsample_in_first_stage": false, "embedding_size": 64, "hidden_act": "relu",
        "hidden_sizes": [64, 128, 256, 512], "id2label": labels, "layer_type": "basic",
        "num_channels": 3, "torch_dtype": "float32"
    });
    let text = hugging_face.to_string();
    assert_eq!(Config::from_json(&text)?, Config::resnet18(1000));
    assert_eq!(ModelConfig::from_json(&text)?, ModelConfig::ResNet(Config::resnet18(1000)));
    assert_eq!(ModelConfig::from_json(timm)?, ModelConfig::ResNet(Config::resnet34(37)));
    let written = serde_json::to_string(&small(LayerType::Bottleneck)).expect("JSON");
    assert_eq!(Config::from_json(&written)?, small(LayerType::Bottleneck));
    for (json, expected) in [
        (r#"{"architecture": "resnet50d"}"#, "`architecture` is `resnet50d`, expected `resnet18`"),
        (r#"{"hidden_act": "gelu"}"#, "`hidden_act` is `gelu`, expected `relu`"),
        (r#"{"depths": [2, 2]}"#, "`depths` is [2, 2], expected four numbers"),
        (r#"{"depths": [2, 0, 2, 2]}"#, "`depths` is 0"),
        (r#"{"layer_type": "wide"}"#, "unknown variant `wide`, expected `basic` or `bottleneck`"),
        (r#"{"hidden_sizes": [4, 8, 8, 13]}"#, "`hidden_sizes` is 13, expected multiples of 4"),
        (r#"{"num_labels": 0}"#, "`num_labels` is 0"),
    ] {
        let error = Config::from_json(json).expect_err(json).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = ModelConfig::from_json(r#"{"architecture": "vgg16"}"#).expect_err("no vgg");
    assert!(error.to_string().contains("`architecture` is `vgg16`"), "{error}");
    Ok(())
}

/// As PyTorch saves it, with a counter that nothing reads; and as `transformers` does.
#[test]
fn files_of_either_naming_load() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let config = small(LayerType::Bottleneck);
    let net = ResNet::new(&config, seeded())?;
    save_weights(&path, &net)?;
    let mut tensors = candle_core::safetensors::load(&path, &Cpu)?;
    tensors.insert("bn1.num_batches_tracked".into(), Tensor::new(7i64, &Cpu)?);
    let renamed: HashMap<String, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| (transformers_name(name), tensor.clone()))
        .inspect(|(name, _)| assert_ne!(torchvision_name(name), *name))
        .collect();
    for tensors in [tensors, renamed] {
        candle_core::safetensors::save(&tensors, &path)?;
        let other = ResNet::new(&config, Seeded::builder(6, DType::F32, &Cpu))?;
        let loaded = load_pretrained(&other, &path)?;
        assert_eq!(loaded.missing, [""; 0]);
        assert_eq!(loaded.unexpected.len(), 1, "{loaded}");
        for ((name, found), (_, expected)) in
            other.named_tensors()?.iter().zip(net.named_tensors()?)
        {
            assert_eq!(numbers(found), numbers(&expected), "{name}");
        }
    }
    Ok(())
}

/// The way back of `torchvision_name`.
fn transformers_name(name: &str) -> String {
    let segments: Vec<&str> = name.split('.').collect();
    let before = |text: &str| text[text.len() - 1..].parse::<usize>().expect("a number") - 1;
    let kind = |text: &str| if text.starts_with("conv") { "convolution" } else { "normalization" };
    match *segments {
        ["fc", of] => format!("classifier.1.{of}"),
        [layer, of] => format!("resnet.embedder.embedder.{}.{of}", kind(layer)),
        [stage, block, "downsample", place, of] => {
            let kind = ["convolution", "normalization"][place.parse::<usize>().expect("a number")];
            format!("resnet.encoder.stages.{}.layers.{block}.shortcut.{kind}.{of}", before(stage))
        }
        [stage, block, layer, of] => format!(
            "resnet.encoder.stages.{}.layers.{block}.layer.{}.{}.{of}",
            before(stage),
            before(layer),
            kind(layer)
        ),
        _ => unreachable!("{name}"),
    }
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let model = ResNet::new(&small(LayerType::Basic), seeded())?;
    for shape in [&[2, 32, 32][..], &[1, 3, 32, 32]] {
        let error = model.forward(images(shape), &EVAL).expect_err("a shape").to_string();
        let expected = format!("{shape:?}, expected [batch, 2, height, width]");
        assert!(error.contains(&expected), "{error}");
    }
    assert!(model.forward(images(&[1, 2, 0, 32]), &EVAL).is_err());
    let one = model.forward(images(&[1, 2, 32, 32]), &TRAIN).expect_err("one value");
    assert!(one.to_string().contains("at least two values per channel"), "{one}");
    let wrong = Config { embedding_size: 0, ..small(LayerType::Basic) };
    let error = ResNet::new(&wrong, seeded()).expect_err("no channel").to_string();
    assert!(error.contains("`embedding_size` is 0"), "{error}");
    Ok(())
}
