//! Which model a `config.json` describes.

use std::path::Path;

use serde_json::Value;

use super::config::{PretrainedConfig, fault, parse, read};
use super::{bert, dinov2, distilbert, llama, resnet, vit};
use crate::error::Result;

/// The settings of any model that there is, told apart by `model_type`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelConfig {
    /// [`bert`].
    Bert(bert::Config),
    /// [`distilbert`].
    DistilBert(distilbert::Config),
    /// [`llama`].
    Llama(llama::Config),
    /// [`vit`].
    ViT(vit::Config),
    /// [`dinov2`].
    Dinov2(dinov2::Config),
    /// [`resnet`].
    ResNet(resnet::Config),
}

impl ModelConfig {
    /// Settings from JSON.
    ///
    /// ```
    /// use freeze_core::models::ModelConfig;
    ///
    /// let config = ModelConfig::from_json(r#"{"model_type": "bert", "num_hidden_layers": 6}"#)?;
    /// assert!(matches!(config, ModelConfig::Bert(config) if config.num_hidden_layers == 6));
    /// let error = ModelConfig::from_json(r#"{"model_type": "mamba"}"#).unwrap_err();
    /// assert!(error.to_string().contains("`model_type` is `mamba`; there is"));
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such model here, or as [`PretrainedConfig::from_json`].
    pub fn from_json(text: &str) -> Result<Self> {
        Self::from_value("config", parse("config", text)?)
    }

    /// Settings from a file, or from the `config.json` of a folder.
    ///
    /// # Errors
    ///
    /// It cannot be read, or as [`from_json`](Self::from_json).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let (of, text) = read(path.as_ref())?;
        Self::from_value(&of, parse(&of, &text)?)
    }

    fn from_value(of: &str, json: Value) -> Result<Self> {
        let found = match json.get("model_type").and_then(Value::as_str) {
            Some(found) => found.to_string(),
            // timm's files.
            None if json.get("architecture").is_some() => "resnet".to_string(),
            None => return Err(fault(of, format!("it has no `model_type`; there is {}", all()))),
        };
        let model = MODELS.iter().find(|(types, _)| types.contains(&&*found));
        match model {
            Some((_, read)) => read(of, json),
            None => Err(fault(of, format!("`model_type` is `{found}`; there is {}", all()))),
        }
    }
}

/// The settings in the JSON of the file of that name.
type Read = fn(&str, Value) -> Result<ModelConfig>;

/// Each model: the values of `model_type` that it covers, and how its settings are read.
const MODELS: [(&[&str], Read); 6] = [
    (bert::Config::MODEL_TYPES, |of, json| {
        bert::Config::from_value(of, json).map(ModelConfig::Bert)
    }),
    (distilbert::Config::MODEL_TYPES, |of, json| {
        distilbert::Config::from_value(of, json).map(ModelConfig::DistilBert)
    }),
    (llama::Config::MODEL_TYPES, |of, json| {
        llama::Config::from_value(of, json).map(ModelConfig::Llama)
    }),
    (vit::Config::MODEL_TYPES, |of, json| vit::Config::from_value(of, json).map(ModelConfig::ViT)),
    (dinov2::Config::MODEL_TYPES, |of, json| {
        dinov2::Config::from_value(of, json).map(ModelConfig::Dinov2)
    }),
    (resnet::Config::MODEL_TYPES, |of, json| {
        resnet::Config::from_value(of, json).map(ModelConfig::ResNet)
    }),
];

/// All that there is.
fn all() -> String {
    let types = MODELS.iter().flat_map(|(types, _)| *types);
    types.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
