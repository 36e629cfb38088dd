//! What these policies remember, as JSON, and the words of their reasons.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::plan::{FreezePlan, LeafState};
use crate::policy::{Decision, Elapsed, Observation, Seen, Settings};

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
    let elements = |tensor: &Seen| tensor.elements() as f64;
    let sums = by_leaf(seen, |tensor| Ok(mean(tensor)?.map(|mean| mean * elements(tensor))))?;
    let counts = by_leaf(seen, |tensor| Ok(mean(tensor)?.map(|_| elements(tensor))))?;
    let means = sums.into_iter().filter_map(|(leaf, sum)| {
        let count = counts.get(&leaf).filter(|count| **count > 0.0)?;
        Some((leaf, sum / count))
    });
    Ok(means.collect())
}

/// What a policy remembers, as its state.
pub(super) fn saved(memory: &impl Serialize) -> Value {
    serde_json::to_value(memory).unwrap_or_default()
}

/// The memory in a saved state; an error if it is another policy's.
pub(super) fn loaded<T: DeserializeOwned>(state: &Value, policy: String) -> Result<T> {
    let misfit = |error: serde_json::Error| Error::PolicyState { policy, why: error.to_string() };
    serde_json::from_value(state.clone()).map_err(misfit)
}

/// The name of a policy and its settings.
pub(super) fn described<S: Settings>(settings: &S) -> String {
    let settings = saved(settings);
    let settings = settings.as_object().into_iter().flatten();
    let settings: Vec<String> = settings.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}({})", S::NAME, settings.join(", "))
}

/// Whether a leaf trains in the base plan, and a policy may freeze it.
pub(super) fn is_free(base: &FreezePlan, leaf: usize) -> bool {
    base.state(leaf).is_some_and(|state| !state.is_frozen()) && !base.is_always(leaf)
}

/// The base plan with these leaves frozen, for these reasons.
pub(super) fn frozen<T: Into<String>>(
    base: &FreezePlan,
    leaves: impl IntoIterator<Item = (usize, T)>,
) -> Result<Decision> {
    let mut decision = Decision::new(base.clone());
    for (leaf, text) in leaves {
        if let Some(path) = base.paths().get(leaf).filter(|_| is_free(base, leaf)) {
            decision.plan.set(leaf, LeafState::Frozen)?;
            decision = decision.because(path, text);
        }
    }
    Ok(decision)
}

/// An error if steps are not counted, or more are completed than there are.
pub(super) fn counted(at: Elapsed) -> Result<()> {
    if at.steps == 0 {
        let expected = "the steps of the whole run: `Elapsed::at_step(step, steps)`";
        return Err(Error::count("steps", at.steps, expected));
    }
    at.fraction().map(drop)
}

/// An error if `value` is not within (0, 1].
pub(super) fn share(name: &'static str, value: f64) -> Result<()> {
    match value > 0.0 && value <= 1.0 {
        true => Ok(()),
        false => Err(Error::Number { name, value, expected: "a number above 0 and up to 1" }),
    }
}

/// An error if `value` is not positive and finite.
pub(super) fn positive(name: &'static str, value: f64) -> Result<()> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(Error::Number { name, value, expected: "a finite number above 0" }),
    }
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
