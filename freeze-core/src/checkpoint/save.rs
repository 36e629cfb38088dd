//! Collects the parts of a run and writes them.

use std::path::Path;

use candle_core::{Device, Tensor};
use twox_hash::XxHash3_128;

use super::base::Base;
use super::bytes::each_chunk;
use super::columns::columns;
use super::dropouts::Dropouts;
use super::fingerprint::Fingerprint;
use super::gathered::gathered;
use super::header::Header;
use super::names::{COLUMNS, MODEL, RANDOM, optimizer_prefix};
use super::parts::Parts;
use super::state::{SavedOptimizer, SavedPolicy, State};
use super::writer::{Checksum, Checksums, write};
use crate::error::{Error, Result, file_error};
use crate::model::Freezable;
use crate::plan::OptimizerState;
use crate::policy::Policy;

pub(super) fn save<M: Freezable>(run: &mut Parts<'_, M>, path: &Path) -> Result<()> {
    let (tensors, state) = gather(run)?;
    write_state(path, &tensors, &state)
}

pub(super) fn save_delta<M: Freezable>(
    run: &mut Parts<'_, M>,
    path: &Path,
    base: &Path,
) -> Result<()> {
    let at = base;
    let mut base = Base::open(at)?;
    if is_same(path, at)? {
        let why = "it is the base itself, which would be gone; save the delta to another file";
        return Err(Error::Unsaved { what: format!("`{}`", path.display()), why: why.into() });
    }
    let (tensors, mut state) = gather(run)?;
    let (mut kept, mut in_base) = (Vec::new(), Checksums::new());
    for (name, tensor) in tensors {
        let known = match name.strip_prefix(MODEL) {
            Some(field) if base.has(field, &tensor) => Some(base.checksum(field)?),
            _ => None,
        };
        match known {
            Some(known) if known == checksum_of(&tensor)? => {
                in_base.insert(name, Checksum::new(known));
            }
            _ => kept.push((name, tensor)),
        }
    }
    (state.in_base, state.base_id) = (Some(in_base), base.id());
    write_state(path, &kept, &state)
}

fn write_state(path: &Path, tensors: &[(String, Tensor)], state: &State) -> Result<()> {
    let describe = |header: &Header, checksums: &Checksums| state.describe(header, checksums);
    write(path, tensors, &describe, &|written| state.check_written(written))
}

/// Whether two paths lead to the same file, also through links.
fn is_same(path: &Path, base: &Path) -> Result<bool> {
    // Only a regular file is opened, not a pipe, for example.
    if !path.is_file() {
        return Ok(false);
    }
    same_file::is_same_file(path, base).map_err(|source| file_error(path, "look at", source))
}

/// The 128-bit XXH3 of a tensor's bytes.
pub(crate) fn checksum_of(tensor: &Tensor) -> Result<u128> {
    let mut hash = XxHash3_128::new();
    each_chunk(tensor, &mut |bytes| {
        hash.write(bytes);
        Ok(())
    })?;
    Ok(hash.finish_128())
}

/// An error if a part cannot be saved.
pub(super) fn check<M: Freezable>(run: &mut Parts<'_, M>) -> Result<()> {
    gather(run).map(|_| ())
}

/// Every tensor with its name in the file, and the rest of the state.
fn gather<M: Freezable>(run: &mut Parts<'_, M>) -> Result<(Vec<(String, Tensor)>, State)> {
    let (layout, model) = Fingerprint::of(run.net.whole().named_tensors()?)?;
    let mut tensors: Vec<(String, Tensor)> =
        model.into_iter().map(|(name, tensor)| (format!("{MODEL}{name}"), tensor)).collect();
    let (planned, mut optimizers) = (run.net.planned_vars(), Vec::new());
    for (index, optimizer) in run.optimizers.iter_mut().enumerate() {
        let state = optimizer.save_state_as(&planned)?;
        let prefix = optimizer_prefix(index);
        tensors.extend(state.tensors.into_iter().map(|(name, t)| (format!("{prefix}{name}"), t)));
        let OptimizerState { kind, learning_rate, steps, .. } = state;
        optimizers.push(SavedOptimizer { kind, learning_rate, steps });
    }
    for (name, generator) in &run.generators {
        let unsaved = |why| Error::Unsaved { what: format!("the generator `{name}`"), why };
        let name = format!("{RANDOM}{name}");
        if tensors.iter().any(|(known, _)| *known == name) {
            return Err(unsaved("another one has that name; give each its own".into()));
        }
        let bytes = generator.save().map_err(unsaved)?;
        tensors.push((name, Tensor::new(bytes, &Device::Cpu)?));
    }
    let metrics = match &run.history {
        Some(history) => {
            let (metrics, columns) = columns(history)?;
            tensors.extend(COLUMNS.map(String::from).into_iter().zip(columns));
            Some(metrics)
        }
        None => None,
    };
    let gathered = gathered(run.accumulator.as_deref(), &planned)?.map(|(weighed, sums)| {
        tensors.extend(sums);
        weighed
    });
    let policy = match &mut run.policy {
        Some(policy) => Some(saved_policy(&mut **policy)?),
        None => None,
    };
    let state = State {
        written_by: concat!("freeze-core ", env!("CARGO_PKG_VERSION")).to_string(),
        layout,
        dropouts: Dropouts::of(run.net.whole())?.0,
        plan: run.net.plan().clone(),
        base_plan: run.net.base().clone(),
        batch_norm: run.net.batch_norm(),
        progress: run.progress.unwrap_or_default(),
        samples: run.samples,
        optimizers,
        why: run.net.why.clone(),
        frozen_state: run.net.frozen_state,
        policy,
        metrics,
        gathered,
        checksums: Checksums::new(),
        in_base: None,
        base_id: None,
    };
    Ok((tensors, state))
}

/// The policy's state, which it must be able to load itself: a state that it refuses could not be
/// resumed.
fn saved_policy(policy: &mut dyn Policy) -> Result<SavedPolicy> {
    let saved = SavedPolicy { describe: policy.describe(), state: policy.state() };
    let unsaved = |why: String| Error::Unsaved {
        what: format!("the state of the policy {}", saved.describe),
        why: format!("{why}; numbers that JSON lacks, such as NaN, must be saved as text or bits"),
    };
    policy.load_state(&saved.state).map_err(|error| unsaved(error.to_string()))?;
    match policy.state() == saved.state {
        true => Ok(saved),
        false => Err(unsaved("it takes it up as another one".into())),
    }
}
