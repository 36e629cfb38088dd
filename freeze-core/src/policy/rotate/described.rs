//! The name and settings of a policy on one line.

use serde_json::Value;

use crate::policy::Settings;

/// `name(setting=value, ..)`, with all settings in alphabetical order.
pub(super) fn described<S: Settings>(settings: &S) -> String {
    let value = serde_json::to_value(settings).unwrap_or_default();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let all = value.as_object().into_iter().flatten();
    let all: Vec<String> = all.map(|(name, value)| format!("{name}={}", text(value))).collect();
    format!("{}({})", S::NAME, all.join(", "))
}
