//! Restores a run: reads and checks everything before it changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::MetricHistory;
use super::columns::history;
use super::dropouts::Dropouts;
use super::fingerprint::Fingerprint;
use super::gathered;
use super::names::{COLUMNS, RANDOM, optimizer_prefix};
use super::parts::Parts;
use super::random::{OWN, Registered};
use super::restore::Restore;
use super::source::Source;
use super::state::SavedOptimizer;
use crate::error::Result;
use crate::model::{Freezable, check_owners};
use crate::plan::{OptimizerState, Prepared};
use crate::policy::Elapsed;

/// The progress of a resumed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// The progress that was given when saving.
    pub progress: Elapsed,
    /// The number of samples that was given when saving.
    pub samples: u64,
}

pub(super) fn resume<M: Freezable>(
    run: &mut Parts<'_, M>,
    path: &Path,
    base: Option<&Path>,
) -> Result<Resumed> {
    let mut source = Source::open(path, base)?;
    let (layout, model) = Fingerprint::of(run.net.whole().named_tensors()?)?;
    let (dropouts, generators) = Dropouts::of(run.net.whole())?;
    let mut differences = source.state.layout.differences(&layout);
    differences.extend(source.state.dropouts.differences(&dropouts));
    differences.extend(differing_parts(run, &source));
    if !differences.is_empty() {
        return Err(source.misfit(differences.join("; ")));
    }
    for plan in [&source.state.plan, &source.state.base_plan] {
        let fits = plan.check_paths(&run.net.inventory.paths);
        fits.map_err(|error| source.misfit(error.to_string()))?;
    }
    let mut loaded = BTreeMap::new();
    for (name, tensor) in &model {
        loaded.insert(name.clone(), source.take_model(name, tensor)?);
    }
    let mut planned = run.net.inventory.planned(&source.state.plan);
    planned.iter_mut().for_each(|var| var.frozen_state = source.state.frozen_state);
    let mut prepared = random(&mut run.generators, &mut source)?;
    let metrics = metrics(&mut source)?;
    let states = optimizer_states(&mut source)?;
    prepared.extend(gathered::prepare(run.accumulator.as_deref_mut(), &mut source, &planned)?);
    source.finish()?;
    let restore = Restore::prepare(run.net, &model, generators, &loaded, &source.state)?;
    let owned = check_owners(&planned, &mut run.optimizers)?;
    for (optimizer, state) in run.optimizers.iter_mut().zip(&states) {
        let fits = optimizer.prepare_state(state, &planned);
        prepared.push(fits.map_err(|error| source.misfit(error.to_string()))?);
    }
    if let (Some(policy), Some(saved)) = (&mut run.policy, &source.state.policy) {
        let fits = policy.load_state(&saved.state);
        fits.map_err(|error| source.misfit(error.to_string()))?;
    }
    // From here on nothing can fail but a device.
    prepared.into_iter().for_each(Prepared::commit);
    if let (Some(history), Some(saved)) = (&mut run.history, metrics) {
        **history = saved;
    }
    run.net.known.extend(owned);
    restore.commit(run.net)?;
    Ok(Resumed { progress: source.state.progress, samples: source.state.samples })
}

fn random<'b>(
    generators: &'b mut [(String, Box<dyn Registered + '_>)],
    source: &mut Source,
) -> Result<Vec<Prepared<'b, ()>>> {
    let mut prepared = Vec::new();
    for (name, generator) in generators {
        let state = source.take(&format!("{RANDOM}{name}"))?;
        let fits = match state.to_vec1::<u8>() {
            Ok(bytes) => generator.prepare(&bytes),
            Err(error) => Err(error.to_string()),
        };
        prepared.push(fits.map_err(|error| {
            source.misfit(match name.strip_prefix(OWN) {
                // A part of the library's own reports what does not fit by itself.
                Some(_) => error,
                None => format!("the state of the generator `{name}` is another's: {error}"),
            })
        })?);
    }
    Ok(prepared)
}

fn metrics(source: &mut Source) -> Result<Option<MetricHistory>> {
    let Some(metrics) = source.state.metrics.take() else { return Ok(None) };
    let [value, metric, elapsed] = COLUMNS;
    let columns = [source.take(value)?, source.take(metric)?, source.take(elapsed)?];
    let read = history(&metrics, &columns);
    read.map(Some).ok_or_else(|| source.damaged("its history of metrics is not one"))
}

fn optimizer_states(source: &mut Source) -> Result<Vec<OptimizerState>> {
    let mut states = Vec::new();
    for (index, saved) in std::mem::take(&mut source.state.optimizers).into_iter().enumerate() {
        let prefix = optimizer_prefix(index);
        let mut tensors = BTreeMap::new();
        for name in source.names(&prefix) {
            let tensor = source.take(&format!("{prefix}{name}"))?;
            tensors.insert(name, tensor);
        }
        let SavedOptimizer { kind, learning_rate, steps } = saved;
        states.push(OptimizerState { kind, learning_rate, tensors, steps });
    }
    Ok(states)
}

/// Every difference between the saved parts and the given ones, apart from the model.
fn differing_parts<M>(run: &Parts<'_, M>, source: &Source) -> Vec<String> {
    let (state, mut found) = (&source.state, Vec::new());
    let (theirs, ours) = (state.optimizers.len(), run.optimizers.len());
    if theirs != ours {
        found.push(format!("it has {theirs} optimizers, {ours} were handed over"));
    }
    let here: BTreeSet<String> = run.generators.iter().map(|(name, _)| name.clone()).collect();
    if here.len() != run.generators.len() {
        found.push("two generators have one name; give each its own".into());
    }
    let there: BTreeSet<String> = source.names(RANDOM).into_iter().collect();
    for name in here.difference(&there) {
        found.push(format!("it has no generator `{name}`"));
    }
    for name in there.difference(&here) {
        found.push(format!("it has a generator `{name}`, which was not handed over"));
    }
    match (&state.policy, run.policy.as_ref().map(|policy| policy.describe())) {
        (Some(saved), Some(ours)) if saved.describe != ours => {
            found.push(format!("its policy is {}, not {ours}", saved.describe));
        }
        (Some(saved), None) => {
            found.push(format!("its policy {} was not handed over", saved.describe));
        }
        (None, Some(ours)) => found.push(format!("it has no policy, {ours} was handed over")),
        _ => {}
    }
    match (state.metrics.is_some(), run.history.is_some()) {
        (true, false) => found.push("its history of metrics was not handed over".into()),
        (false, true) => found.push("it has no history of metrics".into()),
        _ => {}
    }
    match (state.gathered.is_some(), run.accumulator.is_some()) {
        (true, false) => found.push("its accumulator of gradients was not handed over".into()),
        (false, true) => found.push("it has no accumulator of gradients".into()),
        _ => {}
    }
    found
}
