use candle_core::{Device::Cpu, Tensor};
use candle_transformers::models::bert as theirs;
use freeze_core::models::bert::{BertModel, Config};
use freeze_core::models::{PretrainedConfig, TextContext};
use freeze_core::{Freezable, Staged};

use super::{assert_equal, builders};

pub(super) const CONFIG: &str = r#"{"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 32, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 12, "type_vocab_size": 2, "initializer_range": 0.02,
    "layer_norm_eps": 1e-12, "pad_token_id": 0, "model_type": "bert"}"#;

pub(super) fn settings() -> theirs::Config {
    theirs::Config {
        vocab_size: 40,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 12,
        ..Default::default()
    }
}

#[test]
fn bert_is_theirs() {
    let [vb, same] = builders();
    let bert = theirs::BertModel::load(vb, &settings()).expect("their model");
    let ours = BertModel::new(&Config::from_json(CONFIG).expect("settings"), same).expect("ours");
    let tokens = Tensor::new(&[[1u32, 7, 3, 9], [4, 2, 0, 0]], &Cpu).expect("tokens");
    let types = Tensor::new(&[[0u32, 0, 1, 1], [0, 1, 0, 0]], &Cpu).expect("types");
    let mask = Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 0, 0]], &Cpu).expect("a mask");
    let expected = bert.forward(&tokens, &types, Some(&mask)).expect("their vectors");
    let context = TextContext::padded(&mask).expect("a context").token_types(types);
    assert_equal(&ours.forward(tokens, &context).expect("our vectors"), &expected);
    // The tensors and their names, so that one's file is the other's.
    let names = ours.named_tensors().expect("tensors");
    assert_eq!(names.len(), 5 + 2 * 16);
}
