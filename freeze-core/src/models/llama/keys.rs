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
        check(&json).map_err(D::Error::custom)?;
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

/// An error if numbers are missing that the rule needs, or there is a rule for each type of layer.
fn check(scaling: &Value) -> Result<(), String> {
    let Some(settings) = scaling.as_object() else { return Ok(()) };
    if let Some((name, _)) = settings.iter().find(|(_, value)| value.is_object()) {
        return Err(format!("a rule for `{name}` alone; layers here are turned by one"));
    }
    let rule = ["rope_type", "type"].iter().find_map(|name| settings.get(*name)?.as_str());
    let needed: &[&str] = match rule {
        Some("linear") => &["factor"],
        Some("llama3") => {
            &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
        }
        _ => &[],
    };
    match needed.iter().find(|name| settings.get(**name).is_none_or(Value::is_null)) {
        None => Ok(()),
        Some(missing) => Err(format!("the rule `{}` needs `{missing}`", rule.unwrap_or_default())),
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
