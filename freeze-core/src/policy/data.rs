//! Policies from JSON and from TOML.

use serde_json::{Map, Value};

use super::all::all;
use super::settings::{Boxed, Fault, Listed};
use super::unique;
use crate::error::{Error, Result, listed, near};

/// The version of the settings that is read.
const VERSION: u64 = 1;

/// Makes a policy from its settings as JSON: `{"policy": "linear", "start": 0.3}`. Settings that are
/// left out have their defaults, and where there are no others the name alone will do: `"linear"`.
/// `"version"` may be given, and is 1. [`defaults_toml`](super::defaults_toml) lists all names and settings.
///
/// ```
/// use freeze_core::policy::from_json;
///
/// let policy = from_json(r#"{"policy": "linear", "start": 0.3}"#)?;
/// assert_eq!(policy.describe(), "linear(start=0.3, level=1)");
/// assert!(from_json(r#"{"policy": "linear", "strat": 0.3}"#).is_err());
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Errors
///
/// The text is no object, a key is given twice, a name is unknown (the near ones are listed), or a setting is outside its
/// range.
pub fn from_json(text: &str) -> Result<Boxed> {
    let unread = |error: serde_json::Error| Error::policy("", format!("its settings: {error}"));
    from_value(unique::from_str(text).map_err(unread)?)
}

/// As [`from_json`], from TOML.
///
/// ```
/// use freeze_core::policy::from_toml;
///
/// let policy = from_toml(
///     r#"
///     policy = "then"
///     [[parts]]
///     policy = "linear"
///     until = 0.8
///     [[parts]]
///     policy = "all-trained"
///     scale = 0.1
///     "#,
/// )?;
/// assert_eq!(policy.describe(), "then(linear(start=0.5, level=1) until 0.8, all-trained(scale=0.1))");
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Errors
///
/// As [`from_json`].
pub fn from_toml(text: &str) -> Result<Boxed> {
    let unread = |error: toml::de::Error| {
        Error::policy("", format!("its settings: {}", error.to_string().trim_end()))
    };
    let settings: toml::Value = toml::from_str(text).map_err(unread)?;
    if let Some(what) = not_finite(&settings) {
        return Err(Error::policy("", format!("its settings: {what} is no number")));
    }
    let settings = serde_json::to_value(settings)
        .map_err(|error| Error::policy("", format!("its settings: {error}")))?;
    from_value(settings)
}

/// A setting that is infinite or NaN, which TOML has and JSON, in which it would be missing, has not.
fn not_finite(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => Some(format!("{number}")),
        toml::Value::Array(values) => values.iter().find_map(not_finite),
        toml::Value::Table(values) => values.iter().find_map(|(name, value)| {
            not_finite(value).map(|number| match value {
                toml::Value::Float(_) => format!("`{name} = {number}`"),
                _ => number,
            })
        }),
        _ => None,
    }
}

/// As [`from_json`], from a parsed value.
///
/// # Errors
///
/// As [`from_json`].
pub fn from_value(settings: Value) -> Result<Boxed> {
    let mut settings = match settings {
        Value::Object(settings) => settings,
        Value::String(name) => Map::from_iter([("policy".into(), name.into())]),
        _ => {
            let why =
                "its settings are neither an object nor a name; write `{\"policy\": \"linear\"}`";
            return Err(Error::policy("", why));
        }
    };
    let Some(Value::String(name)) = settings.remove("policy") else {
        let why = format!("`policy` is missing, the name of one: {}", names());
        return Err(Error::policy("", why));
    };
    let found = find(&name)?;
    match settings.remove("version").unwrap_or(VERSION.into()).as_u64() {
        Some(VERSION) => {}
        _ => {
            let why = format!("`version` is not {VERSION}, the only one that is read");
            return Err(Error::policy(&name, why));
        }
    }
    check_names(found, &settings)?;
    found.build(Value::Object(settings), from_value).map_err(|fault| match fault {
        Fault::Unread(error) => Error::policy(&name, format!("its settings: {error}")),
        Fault::Refused(error) => error,
    })
}

/// The policy of this name.
fn find(name: &str) -> Result<&'static Listed> {
    all().find(|listed| listed.name == name).ok_or_else(|| {
        let near = near(name, all().map(|listed| listed.name));
        Error::policy(name, format!("there is none of that name{near}; there are {}", names()))
    })
}

fn names() -> String {
    listed(all().map(|listed| listed.name))
}

/// An error that names the first unknown setting.
fn check_names(policy: &Listed, settings: &Map<String, Value>) -> Result<()> {
    let defaults = policy.defaults();
    let known: Vec<&str> = defaults.as_object().into_iter().flatten().map(|(k, _)| &**k).collect();
    match settings.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let hint = match near(name, known.iter().copied()) {
                none if none.is_empty() => format!("; there are {}", listed(&known)),
                near => near,
            };
            Err(Error::policy(policy.name, format!("it has no setting `{name}`{hint}")))
        }
    }
}
