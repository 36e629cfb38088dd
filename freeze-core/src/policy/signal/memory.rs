//! What these policies remember, as JSON, and the words of their reasons.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::plan::{FreezePlan, LeafState};
use crate::policy::{Decision, Elapsed, Observation, Seen};

/// A number for each leaf that has one, by index.
pub(super) type ByLeaf = BTreeMap<usize, f64>;

/// The sums over the tensors of each leaf.
pub(super) fn by_leaf(
    seen: &Observation,
    number: impl Fn(&Seen) -> Result<Option<f64>>,
) -> Result<ByLeaf> {
    let mut sums = ByLeaf::new();
    for tensor in seen.tensors() {
        if let Some(number) = number(tensor)? {
            *sums.entry(tensor.leaf()).or_default() += number;
        }
    }
    Ok(sums)
}

/// The means over all elements of the tensors of each leaf, from the tensors' means.
pub(super) fn mean_by_leaf(
    seen: &Observation,
    mean: impl Fn(&Seen) -> Result<Option<f64>>,
) -> Result<ByLeaf> {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for tensor in seen.tensors() {
        if let Some(mean) = mean(tensor)? {
            let (sum, count) = sums.entry(tensor.leaf()).or_default();
            let elements = tensor.elements() as f64;
            (*sum, *count) = (*sum + mean * elements, *count + elements);
        }
    }
    let means = sums.into_iter().filter(|(_, (_, count))| *count > 0.0);
    Ok(means.map(|(leaf, (sum, count))| (leaf, sum / count)).collect())
}

/// The methods of a policy that describes itself by its `settings`, and whose state is its `memory`.
macro_rules! settings_and_memory {
    () => {
        fn describe(&self) -> String {
            crate::policy::settings::described(&self.settings)
        }

        fn state(&self) -> serde_json::Value {
            $crate::policy::signal::memory::saved(&self.memory)
        }

        fn load_state(&mut self, state: &serde_json::Value) -> crate::error::Result<()> {
            self.memory = $crate::policy::signal::memory::loaded(state, self.describe())?;
            Ok(())
        }
    };
}
pub(super) use settings_and_memory;

/// What a policy remembers, as its state.
pub(super) fn saved(memory: &impl Serialize) -> Value {
    serde_json::to_value(memory).unwrap_or_default()
}

/// The memory in a saved state; an error if it is another policy's.
pub(super) fn loaded<T: DeserializeOwned>(state: &Value, policy: String) -> Result<T> {
    let misfit = |error: serde_json::Error| Error::PolicyState { policy, why: error.to_string() };
    serde_json::from_value(state.clone()).map_err(misfit)
}

/// The base plan with these leaves frozen, for these reasons.
pub(super) fn frozen<T: Into<String>>(
    base: &FreezePlan,
    leaves: impl IntoIterator<Item = (usize, T)>,
) -> Result<Decision> {
    let mut decision = Decision::new(base.clone());
    for (leaf, text) in leaves {
        if let Some(path) = base.paths().get(leaf).filter(|_| base.may_freeze(leaf)) {
            decision.plan.set(leaf, LeafState::Frozen)?;
            decision = decision.because(path, text);
        }
    }
    Ok(decision)
}

/// An error if steps are not counted, or more are completed than there are.
pub(super) fn counted(at: Elapsed) -> Result<()> {
    at.check_steps()?;
    at.fraction().map(drop)
}

/// A share in per cent, with three digits.
pub(super) fn percent(share: f64) -> String {
    let value = 100.0 * share;
    match value.abs() {
        0.0 => "0 %".into(),
        10.0..1000.0 => format!("{value:.1} %"),
        0.01..10.0 => format!("{value:.2} %"),
        _ => format!("{value:.2e} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_well() {
        for (share, text) in
            [(0.0, "0 %"), (0.5, "50.0 %"), (0.01234, "1.23 %"), (1.5e-6, "1.50e-4 %")]
        {
            assert_eq!(percent(share), text);
        }
    }
}
