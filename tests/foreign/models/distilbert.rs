use candle_core::{Device::Cpu, Tensor};
use candle_transformers::models::distilbert as theirs;
use freeze_core::Staged;
use freeze_core::models::distilbert::{Config, DistilBertModel};
use freeze_core::models::{PretrainedConfig, TextContext};

use super::{assert_equal, builders};

/// With relu: for `gelu` theirs computes the approximation by a hyperbolic tangent, PyTorch's and ours the exact one.
const CONFIG: &str = r#"{"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32,
    "activation": "relu", "max_position_embeddings": 12, "initializer_range": 0.02, "pad_token_id": 0,
    "use_cache": false, "model_type": "distilbert"}"#;

#[test]
fn distilbert_is_theirs() {
    let [vb, same] = builders();
    let settings: theirs::Config = serde_json::from_str(CONFIG).expect("their settings");
    let model = theirs::DistilBertModel::load(vb, &settings).expect("their model");
    let ours = DistilBertModel::new(&Config::from_json(CONFIG).expect("settings"), same);
    let tokens = Tensor::new(&[[1u32, 7, 3, 9], [4, 2, 0, 0]], &Cpu).expect("tokens");
    // Theirs hides where the mask is 1.
    let hidden = Tensor::new(&[[[[0u8, 0, 0, 0]]], [[[0, 0, 1, 1]]]], &Cpu).expect("a mask");
    let expected = model.forward(&tokens, &hidden).expect("their vectors");
    let mask = Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 0, 0]], &Cpu).expect("a mask");
    let context = TextContext::padded(&mask).expect("a context");
    assert_equal(&ours.expect("ours").forward(tokens, &context).expect("vectors"), &expected);
}
