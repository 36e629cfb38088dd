//! The settings of all policies with their defaults, as a file.

use serde_json::{Map, Value};

use super::all::all;

/// A TOML file that lists every policy: what it does, its name, and its settings with their defaults. A
/// section is what [`from_toml`](super::from_toml) reads, with `policy = "name"` for its title. The project
/// has it as `docs/policies.toml`.
///
/// ```
/// let text = freeze_core::policy::defaults_toml();
/// assert!(text.contains("\n[linear]\n"));
/// ```
pub fn defaults_toml() -> String {
    let mut text = String::from("# The policies of freeze_core::policy with their defaults.\n");
    for policy in all() {
        text += &format!("\n# {}\n[{}]\n", policy.about, policy.name);
        for (name, value) in policy.defaults().as_object().into_iter().flatten() {
            text += &match value {
                Value::Null => format!("# {} is not set\n", key(name)),
                value => format!("{} = {}\n", key(name), inline(value)),
            };
        }
    }
    text
}

/// A value on one line. TOML has no null: what is not set is left out.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) if map.is_empty() => "{}".into(),
        Value::Object(map) => format!("{{ {} }}", pairs(map).join(", ")),
        // Strings and numbers of JSON are strings and numbers of TOML.
        other => other.to_string(),
    }
}

fn pairs(map: &Map<String, Value>) -> Vec<String> {
    let set = map.iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect()
}

/// A key, in quotes unless it is plain.
fn key(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match !name.is_empty() && name.bytes().all(is_plain) {
        true => name.into(),
        false => Value::from(name).to_string(),
    }
}
