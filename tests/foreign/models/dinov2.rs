use std::collections::HashMap;

use candle_core::{DType, Device::Cpu, Module, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::dinov2 as theirs;
use freeze_core::models::dinov2::{Config, Dinov2ForImageClassification};
use freeze_core::models::{ImageContext, PretrainedConfig};
use freeze_core::{Freezable, Staged};

use super::{assert_equal, builders};

/// Theirs has images of 518, patches of 14, 1000 classes, and the names of the first publication.
#[test]
fn dinov2_is_theirs() {
    let config = Config::from_json(
        r#"{"model_type": "dinov2", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "image_size": 518, "patch_size": 14,
        "layerscale_value": 0.8, "initializer_range": 0.3, "use_mask_token": false}"#,
    );
    let [vb, _] = builders();
    let config = config.expect("settings");
    let ours = Dinov2ForImageClassification::new(&config, 1000, vb).expect("ours");
    let tensors: HashMap<String, Tensor> =
        ours.named_tensors().expect("tensors").into_iter().collect();
    let vb = VarBuilder::from_tensors(renamed(&tensors), DType::F32, &Cpu);
    let dino = theirs::DinoVisionTransformer::new(vb, 2, 8, 2).expect("their model");
    let images = Tensor::randn(0f32, 1., (1, 3, 518, 518), &Cpu).expect("images");
    let found = ours.forward(images.clone(), &ImageContext::default()).expect("our scores");
    assert_equal(&found, &dino.forward(&images).expect("their scores"));
}

/// The same tensors under their names, with queries, keys and values in one.
fn renamed(tensors: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let mut renamed = HashMap::new();
    for (name, tensor) in tensors {
        let (name, tensor) = match name.split_once("attention.attention.query.") {
            Some((layer, of)) => {
                let part =
                    |which: &str| &tensors[&format!("{layer}attention.attention.{which}.{of}")];
                let parts = [part("query"), part("key"), part("value")];
                (format!("{layer}attn.qkv.{of}"), Tensor::cat(&parts, 0).expect("one tensor"))
            }
            None => (name.clone(), tensor.clone()),
        };
        let theirs = [
            ("dinov2.", ""),
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.position_embeddings", "pos_embed"),
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("encoder.layer.", "blocks."),
            ("attention.output.dense", "attn.proj"),
            ("layer_scale1.lambda1", "ls1.gamma"),
            ("layer_scale2.lambda1", "ls2.gamma"),
            ("layernorm", "norm"),
            ("classifier", "head"),
        ];
        let name = theirs.iter().fold(name, |name, (from, to)| name.replace(from, to));
        renamed.insert(name, tensor);
    }
    renamed
}
