//! Settings of which files have an old name, a new one or both.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::config::{Config, RopeScaling};

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = with_one(deserializer, "rope_scaling", "rope_parameters")?;
        Config::deserialize(json).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for RopeScaling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = with_one(deserializer, "type", "rope_type")?;
        RopeScaling::deserialize(json).map_err(D::Error::custom)
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Config::serialize(self, serializer)
    }
}

impl Serialize for RopeScaling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RopeScaling::serialize(self, serializer)
    }
}

/// The settings without the one called `old` if there is one called `new`, unless that is `null`.
fn with_one<'de, D: Deserializer<'de>>(from: D, old: &str, new: &str) -> Result<Value, D::Error> {
    let mut json = Value::deserialize(from)?;
    if let Some(settings) = json.as_object_mut()
        && settings.contains_key(old)
        && let Some(value) = settings.get(new)
    {
        let unused = if value.is_null() { new } else { old };
        settings.remove(unused);
    }
    Ok(json)
}
