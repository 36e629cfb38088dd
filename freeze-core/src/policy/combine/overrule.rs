//! Changes that a rule makes to a policy's decision.

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::plan::LeafState;
use crate::policy::Decision;

/// The decision with other states for some leaves, each with the reason, if it has one, in place of the
/// policy's. The policy's own count of frozen leaves is left out: it is no longer right. Where a leaf that the
/// policy froze trains, the run goes on.
pub(super) fn overrule(
    mut decision: Decision,
    leaves: HashMap<usize, (LeafState, Option<String>)>,
) -> Result<Decision> {
    if leaves.is_empty() {
        return Ok(decision);
    }
    let paths = decision.plan.paths();
    let changed: HashSet<&String> = leaves.keys().filter_map(|&leaf| paths.get(leaf)).collect();
    let mut why = std::mem::take(&mut decision.why);
    why.retain(|reason| !changed.contains(&reason.leaf));
    decision.why = why;
    let mut leaves: Vec<_> = leaves.into_iter().collect();
    leaves.sort_by_key(|(leaf, _)| *leaf);
    for (leaf, (state, text)) in leaves {
        let froze = decision.plan.state(leaf).is_some_and(|state| state.is_frozen());
        decision.ends_run &= !froze || state.is_frozen();
        decision.plan.set(leaf, state)?;
        if let (Some(text), Some(path)) = (text, decision.plan.paths().get(leaf).cloned()) {
            decision = decision.because(path, text);
        }
    }
    Ok(uncounted(decision))
}

/// The decision without a count of frozen leaves of its own.
pub(super) fn uncounted(mut decision: Decision) -> Decision {
    decision.metrics.remove(Decision::LAYERS_FROZEN);
    decision.metrics.remove(Decision::PERCENTAGE_FROZEN);
    decision
}
