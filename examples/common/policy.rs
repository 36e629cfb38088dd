//! Policies by name, as examples take them.

use std::path::Path;

use freeze_core::policy::{Boxed, from_json, from_text, from_toml};

use super::Result;

/// The policy of a file that ends in `.toml` or `.json`, or of a line such as
/// `auto-freeze:windows=20,percentile=50`.
///
/// # Errors
///
/// There is no such file, or no such policy.
pub(crate) fn policy(text_or_file: &str) -> Result<Boxed> {
    let path = Path::new(text_or_file);
    let read = || std::fs::read_to_string(path).map_err(|error| format!("{text_or_file}: {error}"));
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => from_toml(&read()?)?,
        Some("json") => from_json(&read()?)?,
        _ => from_text(text_or_file)?,
    })
}
