//! Settings and weights from published files.

use candle_core::{DType, Device::Cpu};
use freeze_core::checkpoint::save_weights;
use freeze_core::init::Seeded;
use freeze_core::models::bert::{BertForSequenceClassification, BertModel, Config};
use freeze_core::models::{Activation, ModelConfig, Pooling, PretrainedConfig, load_pretrained};
use freeze_core::{Freezable, Result};

use crate::golden::{Case, numbers};

/// The file that lies beside all-MiniLM-L6-v2.
const MINILM: &str = r#"{
  "_name_or_path": "nreimers/MiniLM-L6-H384-uncased", "architectures": ["BertModel"],
  "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false, "hidden_act": "gelu",
  "hidden_dropout_prob": 0.1, "hidden_size": 384, "initializer_range": 0.02, "intermediate_size": 1536,
  "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert",
  "num_attention_heads": 12, "num_hidden_layers": 6, "pad_token_id": 0,
  "position_embedding_type": "absolute", "transformers_version": "4.8.2", "type_vocab_size": 2,
  "use_cache": true, "vocab_size": 30522
}"#;

#[test]
fn settings_are_those_of_the_file() {
    let expected = Config {
        hidden_size: 384,
        intermediate_size: 1536,
        num_hidden_layers: 6,
        ..Default::default()
    };
    assert_eq!(Config::from_json(MINILM).expect("settings"), expected);
    assert_eq!(ModelConfig::from_json(MINILM).expect("settings"), ModelConfig::Bert(expected));
    for (name, expected) in [
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluTanh),
        ("geluapproximate", Activation::GeluTanh),
        ("relu", Activation::Relu),
    ] {
        let config = Config::from_json(&format!(r#"{{"hidden_act": "{name}"}}"#)).expect(name);
        assert_eq!(config.hidden_act, expected);
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    for (json, expected) in [
        ("", "config: is not JSON"),
        ("[]", "config: is not a JSON object"),
        (r#"{"model_type": "mamba"}"#, "`model_type` is `mamba`; this model covers `bert`"),
        (r#"{"hidden_act": "mish"}"#, "unknown variant `mish`, expected one of `gelu`"),
        (
            r#"{"num_attention_heads": 5}"#,
            "`num_attention_heads` is 5, expected a divisor of the size of a token's vector",
        ),
        (r#"{"vocab_size": "many"}"#, "invalid type"),
        (
            r#"{"position_embedding_type": "relative_key"}"#,
            "`position_embedding_type` is `relative_key`; positions here are `absolute`",
        ),
        (r#"{"is_decoder": true}"#, "`is_decoder` is set; a token here sees the whole text"),
    ] {
        let error = Config::from_json(json).expect_err(json).to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (json, expected) in [
        ("{}", "it has no `model_type`; there is `bert`, `distilbert`"),
        (
            r#"{"model_type": "mamba"}"#,
            "`model_type` is `mamba`; there is `bert`, `distilbert`, `llama`, `qwen2`, `qwen3`, `smollm3`, `vit`, \
             `dinov2`, `resnet`",
        ),
    ] {
        let error = ModelConfig::from_json(json).expect_err(json).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = Config::from_file("no/such/folder").expect_err("no file").to_string();
    assert!(error.contains("no/such/folder") && error.contains("cannot be read"), "{error}");
}

/// The case of a classifier, its base alone under names without `bert.`, and a classifier to load into.
fn classifier(seed: u64) -> Result<(Case, Config, BertForSequenceClassification)> {
    let case = Case::open("bert_text");
    let config = Config::from_json(&case.config)?;
    let vb = Seeded::builder(seed, DType::F32, &Cpu);
    let net = BertForSequenceClassification::new(&config, 2, Pooling::Cls, vb)?;
    Ok((case, config, net))
}

#[test]
fn a_bare_models_file_fits_one_with_a_head_and_the_other_way() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    let (case, config, net) = classifier(1)?;
    let base = BertModel::new(&config, case.weights().pp("bert"))?;
    save_weights(&file, &base)?;
    let loaded = load_pretrained(&net, folder.path())?;
    assert_eq!(loaded.loaded.len(), base.named_tensors()?.len());
    let [.., weight, bias] = &loaded.missing[..] else { panic!("{loaded}") };
    assert_eq!([weight.as_str(), bias], ["classifier.weight", "classifier.bias"]);
    assert_eq!((loaded.missing.len(), loaded.unexpected.len()), (4, 0), "{loaded}");
    for ((name, ours), (_, theirs)) in net.named_tensors()?.iter().zip(base.named_tensors()?) {
        assert_eq!(numbers(ours), numbers(&theirs), "{name}");
    }
    // The other way, the head is left over.
    save_weights(&file, &net)?;
    let bare = BertModel::new(&config, Seeded::builder(9, DType::F32, &Cpu))?;
    let loaded = load_pretrained(&bare, &file)?;
    assert_eq!((loaded.missing.len(), loaded.unexpected.len()), (0, 4), "{loaded}");
    for ((name, ours), (_, theirs)) in bare.named_tensors()?.iter().zip(base.named_tensors()?) {
        assert_eq!(numbers(ours), numbers(&theirs), "{name}");
    }
    Ok(())
}

#[test]
fn old_names_and_parts_are_read() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, _, from) = classifier(2)?;
    let mut parts = [std::collections::HashMap::new(), std::collections::HashMap::new()];
    for (index, (name, tensor)) in from.named_tensors()?.into_iter().enumerate() {
        let old = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        parts[index % 2].insert(old.replace("LayerNorm.bias", "LayerNorm.beta"), tensor);
    }
    let mut map = serde_json::Map::new();
    for (part, name) in parts.iter().zip(["one.safetensors", "two.safetensors"]) {
        candle_core::safetensors::save(part, folder.path().join(name))?;
        map.extend(part.keys().map(|tensor| (tensor.clone(), name.into())));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    let path = folder.path().join("model.safetensors.index.json");
    std::fs::write(&path, index.to_string()).expect("written");
    for at in [folder.path(), &path] {
        let (_, _, into) = classifier(3)?;
        let loaded = load_pretrained(&into, at)?;
        assert!(loaded.is_complete(), "{loaded}");
        let pairs = into.named_tensors()?.into_iter().zip(from.named_tensors()?);
        for ((name, found), (_, expected)) in pairs {
            assert_eq!(numbers(&found), numbers(&expected), "{name}");
        }
    }
    // The whole model counts, and not what is left of its parts.
    let whole = folder.path().join("model.safetensors");
    let (_, _, other) = classifier(4)?;
    save_weights(&whole, &other)?;
    let (_, _, into) = classifier(3)?;
    assert!(load_pretrained(&into, folder.path())?.is_complete());
    for ((name, found), (_, expected)) in
        into.named_tensors()?.into_iter().zip(other.named_tensors()?)
    {
        assert_eq!(numbers(&found), numbers(&expected), "{name}");
    }
    std::fs::remove_file(whole).expect("removed");
    std::fs::write(&path, "{}").expect("written");
    for at in [folder.path(), &path] {
        let error = load_pretrained(&from, at).expect_err("no map").to_string();
        assert!(error.contains("`weight_map` names no file"), "{error}");
    }
    Ok(())
}

#[test]
fn a_file_of_another_kind_is_said_to_be_one() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pytorch_model.bin");
    std::fs::write(&file, b"PK\x03\x04 as a file of PyTorch begins").expect("written");
    let (_, _, net) = classifier(1)?;
    let error = load_pretrained(&net, &file).expect_err("no safetensors").to_string();
    assert!(error.contains("no safetensors file or not all of one"), "{error}");
    assert!(error.contains("is damaged"), "{error}");
    Ok(())
}

#[test]
fn a_folder_without_weights_says_what_it_has() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pytorch_model.bin"), "").expect("written");
    let (_, _, net) = classifier(1)?;
    let error = load_pretrained(&net, folder.path()).expect_err("no weights").to_string();
    assert!(error.contains("no `model.safetensors`; there is `pytorch_model.bin`"), "{error}");
    Ok(())
}
