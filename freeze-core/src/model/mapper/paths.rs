//! Paths of leaves and groups.

use std::collections::HashMap;

use crate::plan::LeafState;

/// Every path of a leaf or group, with whether all its leaves are frozen.
pub(super) fn frozen_groups<'a>(
    paths: &'a [String],
    states: &[LeafState],
) -> HashMap<&'a str, bool> {
    let mut groups = HashMap::new();
    for (path, state) in paths.iter().zip(states) {
        let above = path.match_indices('.').map(|(dot, _)| &path[..dot]);
        for group in above.chain(["", path.as_str()]) {
            *groups.entry(group).or_insert(true) &= state.is_frozen();
        }
    }
    groups
}

/// Whether `path` is `group` or below it; everything is below the empty path.
pub(crate) fn is_at_or_below(path: &str, group: &str) -> bool {
    match path.strip_prefix(group) {
        Some(rest) => group.is_empty() || rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

/// Joins two parts of a name with a dot, which is left out if either is empty.
pub(crate) fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_string(),
        (path, "") => path.to_string(),
        (path, name) => format!("{path}.{name}"),
    }
}
