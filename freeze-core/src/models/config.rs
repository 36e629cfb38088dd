//! Settings from the `config.json` that lies beside published weights.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result, listed};

/// The settings of a model, as Hugging Face's `config.json` has them. What a file does not set has its default there;
/// what is not needed here is ignored.
pub trait PretrainedConfig: DeserializeOwned {
    /// The values of `model_type` that the model covers.
    const MODEL_TYPES: &'static [&'static str];

    /// Whether the settings fit together.
    ///
    /// # Errors
    ///
    /// They do not, such as a number of heads that does not divide the size.
    fn check(&self) -> Result<()>;

    /// Settings from JSON.
    ///
    /// # Errors
    ///
    /// It is not JSON, describes another model, or sets what the model does not have or cannot be.
    fn from_json(text: &str) -> Result<Self> {
        Self::from_value("config", parse("config", text)?)
    }

    /// Settings from a file, or from the `config.json` of a folder.
    ///
    /// # Errors
    ///
    /// It cannot be read, or as [`from_json`](Self::from_json).
    fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let (of, text) = read(path.as_ref())?;
        Self::from_value(&of, parse(&of, &text)?)
    }

    #[doc(hidden)]
    fn from_value(of: &str, json: Value) -> Result<Self> {
        match json.get("model_type").and_then(Value::as_str) {
            Some(found) if !Self::MODEL_TYPES.contains(&found) => {
                let there_is = listed(Self::MODEL_TYPES);
                Err(fault(of, format!("`model_type` is `{found}`; this model covers {there_is}")))
            }
            _ => {
                let config: Self =
                    serde_json::from_value(json).map_err(|error| fault(of, error.to_string()))?;
                config.check().map_err(|error| fault(of, error.to_string()))?;
                Ok(config)
            }
        }
    }
}

/// The name and the text of a file, or of the `config.json` in a folder.
pub(super) fn read(path: &Path) -> Result<(String, String)> {
    let file = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    let of = file.display().to_string();
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok((of, text)),
        Err(error) => Err(fault(&of, format!("cannot be read: {error}"))),
    }
}

/// The JSON in the file `of`.
pub(super) fn parse(of: &str, text: &str) -> Result<Value> {
    let json: Value =
        serde_json::from_str(text).map_err(|error| fault(of, format!("is not JSON: {error}")))?;
    match json.is_object() {
        true => Ok(json),
        false => Err(fault(of, "is not a JSON object of settings".into())),
    }
}

/// The error about the file `of`.
pub(super) fn fault(of: &str, why: String) -> Error {
    Error::ModelConfig { of: of.to_string(), why }
}
