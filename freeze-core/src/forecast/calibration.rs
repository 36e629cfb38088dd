//! Calibration: times forward and backward of every layer over a few steps.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, TensorId};

use super::Calibration;
use super::costs::{LeafCost, Recording, combine, trained_bytes, typical};
use crate::audit::probe::Prober;
use crate::audit::trial::Saved;
use crate::error::Result;
use crate::kernel::bytes_of;
use crate::model::{BatchNormPolicy, Freezable, Freezer, Leaf};
use crate::nn::backward_once;
use crate::nn::record::{self, Detail, Part, record};
use crate::plan::{FreezePlan, LeafState};

/// How often each part is measured, after one warm-up step.
const ROUNDS: usize = 5;

/// An optimizer's step, which is timed.
pub(super) struct Update<'a> {
    pub(super) run: &'a mut dyn FnMut(&GradStore) -> candle_core::Result<()>,
    /// What it updates: what trains under this plan.
    pub(super) plan: FreezePlan,
}

/// The times of one round.
struct Round {
    recording: Recording,
    update: Duration,
    /// Freeing the gradients.
    release: Duration,
}

pub(super) fn measure<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&mut M) -> candle_core::Result<Tensor>,
    mut timed: Option<Update<'_>>,
) -> Result<Calibration> {
    let [plan, frozen] =
        [LeafState::TRAINED, LeafState::Frozen].map(|state| freezer.plan().all(state));
    let leaves = freezer.leaves()?;
    let holders = holders(&leaves);
    let saved = timed.is_some().then(|| Saved::new(freezer.vars())).transpose()?;
    let prober = Prober::new(freezer, loss)?;
    let mut step = |part| {
        let run = |view: &mut M| run(&prober, view, part, &mut timed);
        prober.through(&plan, BatchNormPolicy::AsCaller, run)?.1
    };
    // Frozen operations keep no results, which makes their forward faster.
    let pass = || -> Result<(Recording, Vec<Leaf>)> {
        let run = |view: &mut M| forward(&prober, view);
        let (view, recording) = prober.through(&frozen, BatchNormPolicy::AsCaller, run)?;
        Ok((recording?, view))
    };
    let (mut rounds, mut recordings): (Vec<Round>, Vec<Recording>) = Default::default();
    let mut callers = Vec::new();
    step(Part::Whole)?;
    for _ in 0..ROUNDS {
        for part in [Part::Whole, Part::Input, Part::Weight] {
            rounds.push(step(part)?);
        }
        // The first pass runs with memory as the steps left it, so it is not counted.
        pass()?;
        let (recording, view) = pass()?;
        callers = callers_of(&recording, &leaves, &view);
        recordings.push(recording);
    }
    prober.finish()?;
    saved.map_or(Ok(()), |saved| saved.restore())?;

    let undisturbed = || rounds.iter().filter(|round| round.recording.is_undisturbed());
    let update = typical(undisturbed().map(|round| round.update)).unwrap_or_default();
    let release = typical(undisturbed().map(|round| round.release)).unwrap_or_default();
    recordings.extend(rounds.into_iter().map(|round| round.recording));
    // For a model that calls different operations each time, the last step counts.
    let count = recordings.last().map_or(0, |recording| recording.calls.len());
    recordings.retain(|recording| recording.calls.len() == count);
    // A different number of calls means a random model; the passes say nothing about it.
    let known = callers.len() == count;
    let held = |index: usize, call: &record::Call| match known {
        true => callers[index].clone(),
        false => leaves_of(&call.operands, &holders),
    };
    let (calls, heads) = combine(&recordings, held);
    let seen: HashSet<usize> = calls.iter().flat_map(|call| call.leaves.clone()).collect();

    let vars: Vec<(usize, Vec<usize>)> = freezer
        .vars()
        .iter()
        .map(|var| (bytes_of(var), holders.get(&var.id()).cloned().unwrap_or_default()))
        .collect();
    let leaf = |leaf: &Leaf| LeafCost {
        path: leaf.path.clone(),
        kind: leaf.kind.into(),
        known: !leaf.is_trainable() || seen.contains(&leaf.index),
    };
    let leaves = leaves.iter().map(leaf).collect();
    let of_all = timed.map_or(1.0, |timed| updated(&timed.plan, &vars));
    let update = update.mul_f64(of_all) + release;
    Ok(Calibration { leaves, calls, vars, template: plan, heads, update, moments: 2 })
}

/// The leaves that hold each variable.
fn holders(leaves: &[Leaf]) -> HashMap<TensorId, Vec<usize>> {
    let mut holders: HashMap<TensorId, Vec<usize>> = HashMap::new();
    for leaf in leaves {
        for param in leaf.params.iter().filter(|param| param.trainable) {
            holders.entry(param.id).or_default().push(leaf.index);
        }
    }
    holders
}

/// For each call of a pass with everything frozen, the leaves whose weights it used. Each leaf of
/// `view` has its own detached tensors, even for a tied parameter, so they can be told apart.
fn callers_of(pass: &Recording, leaves: &[Leaf], view: &[Leaf]) -> Vec<Vec<usize>> {
    let mut holders: HashMap<TensorId, Vec<usize>> = HashMap::new();
    for (leaf, shown) in leaves.iter().zip(view) {
        let params = leaf.params.iter().zip(&shown.params);
        for (_, shown) in params.filter(|(param, _)| param.trainable) {
            holders.entry(shown.id).or_default().push(leaf.index);
        }
    }
    pass.calls.iter().map(|call| leaves_of(&call.operands, &holders)).collect()
}

/// The leaves that hold any of the operands, in order.
fn leaves_of(operands: &[TensorId], holders: &HashMap<TensorId, Vec<usize>>) -> Vec<usize> {
    // Parameters alone, as of a penalty, are not the place of a leaf in the model.
    if operands.iter().all(|id| holders.contains_key(id)) {
        return Vec::new();
    }
    let held = operands.iter().filter_map(|id| holders.get(id));
    let mut leaves: Vec<usize> = held.flatten().copied().collect();
    leaves.sort_unstable();
    leaves.dedup();
    leaves
}

/// The ratio of the bytes of all variables to those trained under `plan`, which are all that the
/// timed update covered.
fn updated(plan: &FreezePlan, vars: &[(usize, Vec<usize>)]) -> f64 {
    let all: usize = vars.iter().map(|(bytes, _)| bytes).sum();
    match trained_bytes(vars, plan.states()) {
        0 => 1.0,
        moved => all as f64 / moved as f64,
    }
}

/// One forward pass.
fn forward<M, F>(prober: &Prober<'_, M, F>, view: &mut M) -> Result<Recording>
where
    M: Freezable,
    F: Fn(&mut M) -> candle_core::Result<Tensor>,
{
    let part = Part::Whole;
    let pass = || -> Result<_> {
        let start = Instant::now();
        let loss = prober.loss(view)?;
        Ok((start, now(loss.device())?))
    };
    let (forward, calls) = record(Detail::Costs(part), pass);
    Ok(Recording { part, calls, forward: forward?, backward: None })
}

/// One step.
fn run<M, F>(
    prober: &Prober<'_, M, F>,
    view: &mut M,
    part: Part,
    update: &mut Option<Update<'_>>,
) -> Result<Round>
where
    M: Freezable,
    F: Fn(&mut M) -> candle_core::Result<Tensor>,
{
    let step = || -> Result<_> {
        let start = Instant::now();
        let loss = prober.loss(view)?;
        let began = now(loss.device())?;
        let grads = backward_once(&loss)?;
        let ended = now(loss.device())?;
        Ok((loss.device().clone(), grads, start, began, ended))
    };
    let (step, calls) = record(Detail::Costs(part), step);
    let (device, grads, start, began, ended) = step?;
    if let Some(update) = update {
        (update.run)(&grads)?;
    }
    let updated = now(&device)?;
    drop(grads);
    let release = now(&device)?.saturating_duration_since(updated);
    let update = updated.saturating_duration_since(ended);
    let recording =
        Recording { part, calls, forward: (start, began), backward: Some((began, ended)) };
    Ok(Round { recording, update, release })
}

/// The time after the device has finished all queued work.
fn now(device: &Device) -> candle_core::Result<Instant> {
    device.synchronize()?;
    Ok(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timed_update_stands_for_that_of_all_variables_by_their_bytes() -> Result<()> {
        let weight = Tensor::ones((1, 1), candle_core::DType::F32, &Device::Cpu)?;
        let leaf = || candle_nn::Linear::new(weight.clone(), None);
        let mut plan = FreezePlan::all_trained(&[leaf(), leaf()])?;
        let vars = [(12, vec![0]), (4, vec![1])];
        assert_eq!(updated(&plan, &vars), 1.0);
        plan.freeze("0")?;
        assert_eq!(updated(&plan, &vars), 4.0);
        plan.freeze("1")?;
        assert_eq!(updated(&plan, &vars), 1.0, "nothing was updated, nothing is known");
        Ok(())
    }
}
