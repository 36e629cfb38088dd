//! What a policy calls itself.

use crate::policy::Settings;

/// The policy's name with all of its settings, `name(a=1, b="x")`.
pub(super) fn described<S: Settings>(settings: &S) -> String {
    let settings = serde_json::to_value(settings).unwrap_or_default();
    let set = settings.as_object().into_iter().flatten();
    let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}({})", S::NAME, set.join(", "))
}
