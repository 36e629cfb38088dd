//! Accumulated gradients as tensors, with the weights of their micro-batches.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::names::GATHERED;
use super::source::Source;
use super::state::Weighed;
use crate::error::Result;
use crate::optim::{GradAccumulator, SavedSum};
use crate::plan::{PlannedVar, Prepared};

/// The weights by variable, and the sums by their names in the file.
pub(super) type Gathered = (BTreeMap<String, Weighed>, Vec<(String, Tensor)>);

/// The data to save; `None` if there is no accumulator.
pub(super) fn gathered(
    accumulator: Option<&GradAccumulator>,
    vars: &[PlannedVar],
) -> Result<Option<Gathered>> {
    let Some(accumulator) = accumulator else { return Ok(None) };
    let (mut weighed, mut tensors) = (BTreeMap::new(), Vec::new());
    for (name, SavedSum { tensor, total, unit }) in accumulator.sums(vars)? {
        tensors.extend(tensor.map(|tensor| (format!("{GATHERED}{name}"), tensor)));
        weighed.insert(name, Weighed { total, unit });
    }
    Ok(Some((weighed, tensors)))
}

/// Reads the saved data and prepares to load it.
pub(super) fn prepare<'a>(
    accumulator: Option<&'a mut GradAccumulator>,
    source: &mut Source,
    vars: &'a [PlannedVar],
) -> Result<Option<Prepared<'a, ()>>> {
    let saved = source.state.gathered.take();
    let (Some(accumulator), Some(saved)) = (accumulator, saved) else { return Ok(None) };
    let there: BTreeSet<String> = source.names(GATHERED).into_iter().collect();
    let mut sums = BTreeMap::new();
    for (name, Weighed { total, unit }) in saved {
        if [total, unit].iter().any(|number| !number.is_finite() || *number <= 0.0) {
            return Err(source.damaged(format!("what was gathered for `{name}` weighs {total}")));
        }
        let tensor = match there.contains(&name) {
            true => Some(source.take(&format!("{GATHERED}{name}"))?),
            false => None,
        };
        sums.insert(name, SavedSum { tensor, total, unit });
    }
    let fits = accumulator.prepare_sums(vars, sums);
    fits.map(Some).map_err(|why| source.misfit(format!("its gathered gradients: {why}")))
}
