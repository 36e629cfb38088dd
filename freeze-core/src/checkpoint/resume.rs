//! Restoring a run: read everything, check everything, and only then change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Tensor;

use super::archive::Archive;
use super::base::Base;
use super::fingerprint::Fingerprint;
use super::restore::{Loaded, Restore};
use super::run::Checkpoint;
use super::save::{MODEL, VIEW, optimizer_prefix};
use super::state::State;
use super::verify::read;
use super::writer::Checksum;
use crate::freezer::check_owners;
use crate::{Elapsed, Error, Freezable, OptimizerState, Result};

/// Where a resumed run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// How far training is, as it was said when saving.
    pub progress: Elapsed,
    /// How many samples training has seen, as it was said when saving.
    pub samples: u64,
}

pub(super) fn resume<M: Freezable>(
    run: &mut Checkpoint<'_, M>,
    path: &Path,
    base: Option<&Path>,
) -> Result<Resumed> {
    let mut archive = Archive::open(path)?;
    let state = read(&archive)?;
    let in_base = match (&state.in_base, base) {
        (Some(_), None) => {
            let why = "it holds only what differs from its base; use `resume_delta`";
            return Err(archive.misfit(why));
        }
        (None, Some(_)) => {
            return Err(archive.misfit("it stands alone and needs no base; use `resume`"));
        }
        (in_base, _) => in_base.clone().unwrap_or_default(),
    };
    let (layout, model) = Fingerprint::of(run.net.whole().named_tensors()?)?;
    let differences = differences(run, &state, &layout);
    if !differences.is_empty() {
        return Err(archive.misfit(differences.join("; ")));
    }
    let misfit = |error: Error| archive.misfit(error.to_string());
    state.plan.check_paths(&run.net.inventory.paths).map_err(misfit)?;
    state.base_plan.check_paths(&run.net.inventory.paths).map_err(misfit)?;
    for (name, generator) in &mut run.generators {
        let Some(text) = state.random.get(name) else { continue };
        generator.prepare(text).map_err(|error| {
            archive.misfit(format!("the state of the generator `{name}` is another's: {error}"))
        })?;
    }

    let mut loaded = Loaded::default();
    let names: Vec<String> = archive.names().map(str::to_string).collect();
    let mut optimizers = empty_states(&state);
    let mut base = base.map(Base::open).transpose()?;
    let mut strangers: BTreeSet<String> = names.iter().cloned().collect();
    for (name, tensor) in &model {
        let full = format!("{MODEL}{name}");
        strangers.remove(&full);
        let fresh = match (in_base.get(&full).and_then(Checksum::value), &mut base) {
            (Some(checksum), Some(base)) => base.tensor(name, checksum)?,
            _ => {
                let checksum = state.checksum(&archive, &full)?;
                archive.tensor(&full, Some(checksum))?
            }
        };
        if !alike(&fresh, tensor) {
            return Err(archive.damaged(format!("`{full}` is not what its layout says")));
        }
        loaded.model.insert(name.clone(), fresh);
        let own = format!("{VIEW}{name}");
        if strangers.remove(&own) {
            let fresh = archive.tensor(&own, Some(state.checksum(&archive, &own)?))?;
            if !alike(&fresh, tensor) {
                return Err(archive.damaged(format!("`{own}` is not what its layout says")));
            }
            loaded.view.insert(name.clone(), fresh);
        }
    }
    for (index, optimizer) in optimizers.iter_mut().enumerate() {
        let prefix = optimizer_prefix(index);
        for full in names.iter().filter(|name| name.starts_with(&prefix)) {
            strangers.remove(full);
            let checksum = state.checksum(&archive, full)?;
            let tensor = archive.tensor(full, Some(checksum))?;
            optimizer.tensors.insert(full[prefix.len()..].to_string(), tensor);
        }
    }
    if !strangers.is_empty() {
        let names: Vec<String> = strangers.into_iter().map(|name| format!("`{name}`")).collect();
        return Err(archive.misfit(format!("nothing here takes {}", names.join(", "))));
    }
    let resumed = commit(run, state, &archive, optimizers, &model, &loaded);
    if resumed.is_err() {
        run.optimizers.iter_mut().for_each(|optimizer| optimizer.discard_prepared());
    }
    resumed
}

/// The last checks, and then the change, which cannot fail.
fn commit<M: Freezable>(
    run: &mut Checkpoint<'_, M>,
    state: State,
    archive: &Archive,
    optimizers: Vec<OptimizerState>,
    model: &[(String, Tensor)],
    loaded: &Loaded,
) -> Result<Resumed> {
    let restore = Restore::prepare(run.net, model, loaded, &state)?;
    let planned = run.net.inventory.planned(&state.plan);
    check_owners(&planned, &mut run.optimizers)?;
    for (optimizer, saved) in run.optimizers.iter_mut().zip(&optimizers) {
        let fits = optimizer.prepare_state_as(saved, &planned);
        fits.map_err(|error| archive.misfit(error.to_string()))?;
        optimizer.prepare_plan(&planned)?;
    }
    if let (Some(schedule), Some(saved)) = (&mut run.schedule, &state.schedule) {
        schedule.load_state(&saved.state).map_err(|error| archive.misfit(error.to_string()))?;
    }
    // From here on nothing can fail but a device.
    for (optimizer, saved) in run.optimizers.iter_mut().zip(&optimizers) {
        optimizer.commit_plan();
        optimizer.commit_state();
        optimizer.commit_rate(saved.learning_rate);
    }
    run.generators.iter_mut().for_each(|(_, generator)| generator.commit());
    if let (Some(history), Some(saved)) = (&mut run.history, state.history) {
        **history = saved;
    }
    restore.commit(run.net)?;
    Ok(Resumed { progress: state.progress, samples: state.samples })
}

fn alike(one: &Tensor, other: &Tensor) -> bool {
    (one.dims(), one.dtype()) == (other.dims(), other.dtype())
}

/// Every difference between what was saved and what was handed over.
fn differences<M>(run: &Checkpoint<'_, M>, state: &State, layout: &Fingerprint) -> Vec<String> {
    let mut found = state.layout.differences(layout);
    let (theirs, ours) = (state.optimizers.len(), run.optimizers.len());
    if theirs != ours {
        found.push(format!("it has {theirs} optimizers, {ours} were handed over"));
    }
    let here: BTreeSet<&String> = run.generators.iter().map(|(name, _)| name).collect();
    if here.len() != run.generators.len() {
        found.push("two generators have one name; give each its own".into());
    }
    let there: BTreeSet<&String> = state.random.keys().collect();
    for name in here.difference(&there) {
        found.push(format!("it has no generator `{name}`"));
    }
    for name in there.difference(&here) {
        found.push(format!("it has a generator `{name}`, which was not handed over"));
    }
    match (&state.schedule, run.schedule.as_ref().map(|schedule| schedule.describe())) {
        (Some(saved), Some(ours)) if saved.describe != ours => {
            found.push(format!("its schedule is {}, not {ours}", saved.describe));
        }
        (Some(saved), None) => {
            found.push(format!("its schedule {} was not handed over", saved.describe));
        }
        (None, Some(ours)) => found.push(format!("it has no schedule, {ours} was handed over")),
        _ => {}
    }
    match (state.history.is_some(), run.history.is_some()) {
        (true, false) => found.push("its history of metrics was not handed over".into()),
        (false, true) => found.push("it has no history of metrics".into()),
        _ => {}
    }
    found
}

fn empty_states(state: &State) -> Vec<OptimizerState> {
    let empty = |saved: &super::state::SavedOptimizer| OptimizerState {
        kind: saved.kind.clone(),
        learning_rate: saved.learning_rate,
        tensors: BTreeMap::new(),
        steps: saved.steps.clone(),
    };
    state.optimizers.iter().map(empty).collect()
}
