use candle_core::{Device::Cpu, Tensor};
use candle_transformers::models::vit as theirs;
use freeze_core::models::vit::{Config, ViTForImageClassification};
use freeze_core::models::{ImageContext, PretrainedConfig};
use freeze_core::{Freezable, Staged};

use super::{assert_equal, builders};

#[test]
fn vit_is_theirs() {
    for act in ["gelu", "relu"] {
        let json = format!(
            r#"{{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 32, "hidden_act": "{act}", "layer_norm_eps": 1e-12, "image_size": 12,
            "patch_size": 4, "num_channels": 3, "qkv_bias": false, "initializer_range": 0.3}}"#
        );
        let [vb, same] = builders();
        let config = Config::from_json(&json).expect("settings");
        let ours = ViTForImageClassification::new(&config, 5, vb).expect("ours");
        let config: theirs::Config = serde_json::from_str(&json).expect("their settings");
        let vit = theirs::Model::new(&config, 5, same).expect("their model");
        let images = Tensor::randn(0f32, 1., (2, 3, 12, 12), &Cpu).expect("images");
        let found = ours.forward(images.clone(), &ImageContext::default()).expect("our scores");
        assert_equal(&found, &vit.forward(&images).expect("their scores"));
        assert_eq!(ours.named_tensors().expect("tensors").len(), 4 + 2 * (16 - 3) + 4);
    }
}
