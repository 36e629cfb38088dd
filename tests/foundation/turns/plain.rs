//! What should happen, written down plainly: every weight as numbers, AdamW a variable at a time,
//! the network in candle's own operations.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use freeze_core::{LeafState, Result};

use super::{EPSILON, LEAVES};

/// A variable with its moments and the number of its updates.
struct Slot {
    var: Var,
    moments: Option<(Tensor, Tensor)>,
    steps: i32,
}

pub struct Plain {
    slots: BTreeMap<String, Slot>,
    statistics: BTreeMap<String, Tensor>,
    pub states: Vec<LeafState>,
    pub base: Vec<LeafState>,
    pub inference: bool,
    pub scheduled: u64,
}

impl Plain {
    pub fn of(tensors: &[(String, Tensor)]) -> Result<Self> {
        let (mut slots, mut statistics) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in tensors {
            match name.contains("running") {
                true => drop(statistics.insert(name.clone(), tensor.copy()?)),
                false => {
                    let var = Var::from_tensor(&tensor.copy()?)?;
                    slots.insert(name.clone(), Slot { var, moments: None, steps: 0 });
                }
            }
        }
        let states = vec![LeafState::TRAINED; LEAVES.len()];
        let base = states.clone();
        Ok(Self { slots, statistics, states, base, inference: false, scheduled: 0 })
    }

    pub fn by_hand(&mut self, states: [LeafState; 4]) {
        self.base = states.to_vec();
        self.take_up(states.to_vec());
    }

    pub fn scheduled(&mut self) {
        self.scheduled += 1;
        let depth = self.scheduled.min(3) as usize;
        let mut states = self.base.clone();
        states[..depth].fill(LeafState::Frozen);
        // The last leaf that the user left trained trains, if nothing else does.
        if let Some(last) = self.base.iter().rposition(|state| !state.is_frozen())
            && states.iter().all(|state| state.is_frozen())
        {
            states[last] = self.base[last];
        }
        self.take_up(states);
    }

    /// Whatever freezes loses its moments.
    fn take_up(&mut self, states: Vec<LeafState>) {
        for (leaf, state) in LEAVES.iter().zip(&states) {
            if state.is_frozen() {
                self.slots.iter_mut().filter(|(name, _)| name.starts_with(leaf)).for_each(reset);
            }
        }
        self.states = states;
    }

    pub fn forget(&mut self) {
        self.slots.iter_mut().for_each(reset);
    }

    pub fn state_bytes(&self) -> usize {
        let held = self.slots.values().filter(|slot| slot.moments.is_some());
        held.map(|slot| 2 * 8 * slot.var.elem_count()).sum()
    }

    pub fn values(&self, name: &str) -> Result<Vec<f64>> {
        let tensor = self.statistics.get(name).or(self.slots.get(name).map(|slot| &*slot.var));
        Ok(tensor.expect("a known name").flatten_all()?.to_vec1()?)
    }

    /// The loss through everything frozen, which moves statistics in training.
    pub fn evaluate(&mut self, xs: &Tensor, train: bool) -> Result<f64> {
        Ok(self.loss(xs, train)?.to_scalar()?)
    }

    pub fn clone_for_evaluation(&self) -> Result<Self> {
        let slots =
            self.slots.iter().map(|(name, slot)| (name.clone(), slot.var.as_tensor().clone()));
        let tensors = self.statistics.iter().map(|(name, tensor)| (name.clone(), tensor.clone()));
        Self::of(&slots.chain(tensors).collect::<Vec<_>>())
    }

    /// AdamW (Loshchilov and Hutter, 2019) with candle's defaults but for epsilon.
    pub fn step(&mut self, xs: &Tensor) -> Result<()> {
        let by_batch = !(self.inference && self.states[1].is_frozen());
        let grads = self.loss(xs, by_batch)?.backward()?;
        for (leaf, state) in LEAVES.iter().zip(&self.states) {
            let LeafState::Trained { lr_scale } = state else { continue };
            let rate = 0.001 * lr_scale;
            for (_, slot) in self.slots.iter_mut().filter(|(name, _)| name.starts_with(leaf)) {
                let grad = grads.get(&slot.var).expect("a gradient");
                let zeros =
                    || Ok::<_, candle_core::Error>((grad.zeros_like()?, grad.zeros_like()?));
                let (first, second) = slot.moments.take().map_or_else(zeros, Ok)?;
                slot.steps += 1;
                let first = ((first * 0.9)? + (grad * 0.1)?)?;
                let second = ((second * 0.999)? + (grad.sqr()? * 0.001)?)?;
                let of_first = (&first / (1.0 - 0.9f64.powi(slot.steps)))?;
                let of_second = (&second / (1.0 - 0.999f64.powi(slot.steps)))?;
                let decayed = (slot.var.as_detached_tensor() * (1.0 - rate * 0.01))?;
                let by = (of_first / (of_second.sqrt()? + EPSILON)?)?;
                slot.var.set(&(decayed - (by * rate)?)?)?;
                slot.moments = Some((first.detach(), second.detach()));
            }
        }
        Ok(())
    }

    fn loss(&mut self, xs: &Tensor, by_batch: bool) -> candle_core::Result<Tensor> {
        let linear = |name: &str, xs: &Tensor| {
            let [weight, bias] =
                ["weight", "bias"].map(|end| &self.slots[&format!("{name}.{end}")]);
            xs.matmul(&weight.var.t()?)?.broadcast_add(&bias.var)
        };
        let xs = linear("stem", xs)?;
        let [kept_mean, kept_var] =
            ["running_mean", "running_var"].map(|end| format!("norm.{end}"));
        let (mean, var) = match by_batch {
            true => {
                let mean = xs.mean(0)?;
                let var = xs.broadcast_sub(&mean)?.sqr()?.mean(0)?;
                (mean, var)
            }
            false => (self.statistics[&kept_mean].clone(), self.statistics[&kept_var].clone()),
        };
        let xs = xs.broadcast_sub(&mean)?.broadcast_div(&(&var + 1e-5)?.sqrt()?)?;
        let [weight, bias] = ["norm.weight", "norm.bias"].map(|name| &self.slots[name].var);
        let xs = xs.broadcast_mul(weight)?.broadcast_add(bias)?;
        let loss = linear("head", &linear("body", &xs)?)?.sqr()?.mean_all()?;
        if by_batch {
            // Six rows: the variance that is kept is the unbiased one.
            for (name, batch) in [(kept_mean, mean), (kept_var, (var * (6.0 / 5.0))?)] {
                let kept = ((&self.statistics[&name] * 0.9)? + (batch.detach() * 0.1)?)?;
                self.statistics.insert(name, kept);
            }
        }
        Ok(loss)
    }
}

fn reset((_, slot): (&String, &mut Slot)) {
    (slot.moments, slot.steps) = (None, 0);
}
