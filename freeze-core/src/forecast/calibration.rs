//! The measurement.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, TensorId};

use super::Calibration;
use super::costs::{Call, LeafCost, split};
use crate::audit::probe::{Prober, Saved};
use crate::nn::record::{self, Detail, record};
use crate::{BatchNormPolicy, Freezable, FreezePlan, Freezer, Leaf, LeafState, Result};

/// The rounds that are measured, after one that warms up.
const ROUNDS: usize = 3;

type Update<'a> = &'a mut dyn FnMut(&GradStore) -> candle_core::Result<()>;

/// What one round took.
struct Round {
    calls: Vec<Call>,
    forward: Duration,
    head: Duration,
    update: Duration,
}

pub(super) fn measure<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&mut M) -> candle_core::Result<Tensor>,
    mut update: Option<Update<'_>>,
) -> Result<Calibration> {
    let mut plan = freezer.plan().clone();
    (0..plan.len()).try_for_each(|i| plan.set(i, LeafState::TRAINED).map(drop))?;
    let leaves = freezer.leaves()?;
    let holders = holders(&leaves);
    let saved = update.is_some().then(|| Saved::new(freezer.vars())).transpose()?;
    let prober = Prober::new(freezer, loss)?;
    let mut best: Option<Round> = None;
    let mut seen = Vec::new();
    for round in 0..=ROUNDS {
        let run = |view: &mut M| run(&prober, view, &holders, &mut update);
        let (_, measured) = prober.through(&plan, BatchNormPolicy::AsCaller, run)?;
        let (measured, used) = measured?;
        if round > 0 {
            best = Some(match best {
                None => measured,
                Some(best) => best.better(measured),
            });
        }
        seen = used;
    }
    prober.finish()?;
    saved.map_or(Ok(()), |saved| saved.restore())?;

    let vars: Vec<(usize, Vec<usize>)> = freezer
        .vars()
        .iter()
        .map(|var| {
            let bytes = var.elem_count() * var.dtype().size_in_bytes();
            (bytes, holders.get(&var.id()).cloned().unwrap_or_default())
        })
        .collect();
    let Round { calls, forward, head, update } = best.unwrap_or_default();
    let leaf = |leaf: &Leaf| LeafCost {
        path: leaf.path.clone(),
        kind: leaf.kind,
        known: !leaf.is_trainable() || leaf.params.iter().any(|p| seen.contains(&p.id)),
    };
    let leaves = leaves.iter().map(leaf).collect();
    let update = update.mul_f64(updated(freezer.plan(), &vars));
    Ok(Calibration { leaves, calls, vars, template: plan, forward, head, update, moments: 2 })
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

/// By how much the update of all variables exceeds that of those trained under `plan`, which alone an
/// optimizer under it moves.
fn updated(plan: &FreezePlan, vars: &[(usize, Vec<usize>)]) -> f64 {
    let all: usize = vars.iter().map(|(bytes, _)| bytes).sum();
    let trained = |leaves: &[usize]| super::costs::any_trained(leaves, plan.states());
    let moved: usize =
        vars.iter().filter(|(_, leaves)| trained(leaves)).map(|(bytes, _)| bytes).sum();
    match moved {
        0 => 1.0,
        moved => all as f64 / moved as f64,
    }
}

/// One step, and the weights that were reported.
fn run<M, F>(
    prober: &Prober<'_, M, F>,
    view: &mut M,
    holders: &HashMap<TensorId, Vec<usize>>,
    update: &mut Option<Update<'_>>,
) -> Result<(Round, Vec<TensorId>)>
where
    M: Freezable,
    F: Fn(&mut M) -> candle_core::Result<Tensor>,
{
    let step = || -> Result<_> {
        let start = Instant::now();
        let loss = prober.loss(view)?;
        let began = now(loss.device())?;
        let grads = loss.backward()?;
        let ended = now(loss.device())?;
        Ok((loss.device().clone(), grads, start, began, ended))
    };
    let (step, recorded) = record(Detail::Costs, step);
    let (device, grads, start, began, ended) = step?;
    if let Some(update) = update {
        update(&grads)?;
    }
    let update = match update {
        Some(_) => now(&device)?.saturating_duration_since(ended),
        None => Duration::ZERO,
    };
    let leaves = |call: &record::Call| {
        let held = call.weights.iter().filter_map(|id| holders.get(id));
        let mut leaves: Vec<usize> = held.flatten().copied().collect();
        leaves.sort_unstable();
        leaves.dedup();
        leaves
    };
    let (calls, head) = split(&recorded, leaves, (began, ended));
    let seen = recorded.into_iter().flat_map(|call| call.weights).collect();
    let forward = began.saturating_duration_since(start);
    Ok((Round { calls, forward, head, update }, seen))
}

/// The time when the device has done all it was given.
fn now(device: &Device) -> candle_core::Result<Instant> {
    device.synchronize()?;
    Ok(Instant::now())
}

impl Round {
    /// The best of both, part by part; a model that calls other operations each time keeps the later.
    fn better(self, other: Self) -> Self {
        let calls = match self.calls.len() == other.calls.len() {
            true => self.calls.into_iter().zip(other.calls).map(|(a, b)| a.best(b)).collect(),
            false => other.calls,
        };
        Self {
            calls,
            forward: self.forward.min(other.forward),
            head: self.head.min(other.head),
            update: self.update.min(other.update),
        }
    }
}

impl Default for Round {
    fn default() -> Self {
        let [forward, head, update] = [Duration::ZERO; 3];
        Self { calls: Vec::new(), forward, head, update }
    }
}
