//! The run as one would write it without the library: every gradient is computed, what is frozen is
//! left alone, and state is a map.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::net::{Net, Picture, bits, tensors};
use super::turn::{LEAVES, Turn};

pub const LR: f64 = 0.05;
pub const MOMENTUM: f64 = 0.9;

/// The moment of a parameter, and how many updates it has seen.
type Moment = (Tensor, u64);

/// Everything that a turn may change.
#[derive(Clone)]
struct State {
    weights: BTreeMap<String, Tensor>,
    position: u64,
    /// By leaf: frozen, or the share of the rate; and the same by hand alone.
    plan: Vec<Option<f64>>,
    base: Vec<Option<f64>>,
    moments: BTreeMap<String, Moment>,
    inference: bool,
    /// By name: the sum of what was gathered, and how many micro-batches it is of.
    gathered: BTreeMap<String, (Tensor, f64)>,
}

pub struct Plain {
    net: Net,
    state: State,
    keep: bool,
    saved: [Option<State>; 2],
}

impl Plain {
    pub fn new(seed: u64) -> candle_core::Result<Self> {
        let state = State {
            weights: BTreeMap::new(),
            position: 0,
            plan: vec![Some(1.0); LEAVES],
            base: vec![Some(1.0); LEAVES],
            moments: BTreeMap::new(),
            inference: false,
            gathered: BTreeMap::new(),
        };
        Ok(Self { net: Net::new(seed)?, state, keep: false, saved: [None, None] })
    }

    /// Takes the turn, or says in what words it is refused.
    pub fn take(&mut self, turn: &Turn) -> Result<(), &'static str> {
        match turn {
            Turn::Step | Turn::StepInATask => {
                let grads = self.gradients();
                self.update(grads);
            }
            Turn::Gather => {
                for (name, grad) in self.gradients() {
                    let (sum, n) = match self.state.gathered.remove(&name) {
                        Some((sum, n)) => ((sum + grad).expect("a sum"), n + 1.0),
                        None => (grad, 1.0),
                    };
                    self.state.gathered.insert(name, (sum, n));
                }
            }
            Turn::Apply => {
                let gathered = std::mem::take(&mut self.state.gathered);
                let mean = |(sum, n): (Tensor, f64)| match n == 1.0 {
                    true => sum,
                    false => (sum / n).expect("a mean"),
                };
                let grads = gathered.into_iter().map(|(name, sum)| (name, mean(sum))).collect();
                let trains = self.state.plan.iter().any(Option::is_some);
                let grads: BTreeMap<String, Tensor> = grads;
                if grads.is_empty() && trains {
                    return Err("no gradient reached");
                }
                self.update(grads);
            }
            Turn::FreezeFront(n) if *n > LEAVES => return Err("cannot freeze up to leaf 5"),
            Turn::FreezeFront(n) => self.by_hand((0..LEAVES).map(|i| (i >= *n).then_some(1.0))),
            Turn::Thaw => self.by_hand((0..LEAVES).map(|_| Some(1.0))),
            Turn::Plan(states) => self.by_hand(states.iter().copied()),
            // Nothing that the optimizer owns changes.
            Turn::PlanWithoutOptimizer(n) => {
                let plan: Vec<_> = (0..LEAVES).map(|i| (i >= *n).then_some(1.0)).collect();
                if plan != self.state.plan {
                    return Err("optimizer");
                }
                self.state.base = plan;
            }
            Turn::RefusedPlan => return Err("does not fit the model"),
            Turn::Schedule(epoch) => {
                // From the start, up to all but the last.
                let depth = (*epoch as f64 / 4.0 * (LEAVES - 1) as f64).trunc() as usize;
                let mut plan = self.state.base.clone();
                plan[..depth].fill(None);
                // The last leaf that the user left trained trains, if nothing else does.
                if let Some(last) = self.state.base.iter().rposition(Option::is_some)
                    && plan.iter().all(Option::is_none)
                {
                    plan[last] = self.state.base[last];
                }
                self.plan(plan);
            }
            Turn::RefusedSchedule => return Err("epoch"),
            // With the next plan.
            Turn::KeepState(keep) => self.keep = *keep,
            Turn::Inference(inference) => self.state.inference = *inference,
            Turn::NewOptimizer => self.state.moments.clear(),
            Turn::Save(slot) => {
                let weights = self.net.copied();
                let position = self.net.block.dropout.state().position;
                let saved = State { weights, position, ..self.state.clone() };
                self.saved[*slot] = Some(saved);
            }
            Turn::Resume(slot) => {
                let Some(saved) = self.saved[*slot].clone() else { return Err("cannot") };
                self.net.set(&saved.weights);
                let dropout = &self.net.block.dropout;
                let mut at = dropout.state();
                at.position = saved.position;
                dropout.set_state(at);
                self.state = saved;
            }
            Turn::RefusedResume => return Err("damaged"),
            Turn::Evaluate => {}
        }
        Ok(())
    }

    fn by_hand(&mut self, plan: impl Iterator<Item = Option<f64>>) {
        self.state.base = plan.collect();
        self.plan(self.state.base.clone());
    }

    fn plan(&mut self, plan: Vec<Option<f64>>) {
        self.state.plan = plan;
        let frozen = self.frozen_names();
        self.state.gathered.retain(|name, _| !frozen.contains(name));
        self.drop_frozen();
    }

    /// Frozen parameters keep their moments only if that is the policy.
    fn drop_frozen(&mut self) {
        if !self.keep {
            let frozen = self.frozen_names();
            self.state.moments.retain(|name, _| !frozen.contains(name));
        }
    }

    fn frozen_names(&self) -> Vec<String> {
        let leaf = ["stem", "norm", "block.linear", "head"];
        let frozen = |name: &String| {
            let at = leaf.iter().position(|leaf| name.starts_with(leaf)).expect("a leaf");
            self.state.plan[at].is_none()
        };
        let names = self.net.vars_by_name().into_iter().map(|(name, _)| name);
        names.filter(frozen).collect()
    }

    /// Of every parameter that trains.
    fn gradients(&self) -> BTreeMap<String, Tensor> {
        let [_, norm, block, _] = self.state.plan[..] else { unreachable!() };
        let off = |state: Option<f64>| self.state.inference && state.is_none();
        let loss = self.net.loss(!off(norm), !off(block)).expect("a loss");
        let grads = loss.backward().expect("gradients");
        let frozen = self.frozen_names();
        let trained =
            self.net.vars_by_name().into_iter().filter(|(name, _)| !frozen.contains(name));
        trained.map(|(name, var)| (name, grads.get(&var).expect("a gradient").clone())).collect()
    }

    /// SGD with momentum (Sutskever et al., as PyTorch has it): v = 0.9 v + g, w = w - lr v.
    fn update(&mut self, grads: BTreeMap<String, Tensor>) {
        let leaf = |name: &str| match name.split('.').next() {
            Some("stem") => 0,
            Some("norm") => 1,
            Some("block") => 2,
            _ => 3,
        };
        for (name, var) in self.net.vars_by_name() {
            let (Some(share), Some(grad)) = (self.state.plan[leaf(&name)], grads.get(&name)) else {
                continue;
            };
            let (moment, steps) = match self.state.moments.remove(&name) {
                Some((moment, steps)) => {
                    (((moment * MOMENTUM).and_then(|m| m + grad)).expect("a moment"), steps + 1)
                }
                None => (grad.clone(), 1),
            };
            let moved = (&moment * (LR * share)).and_then(|step| var.as_tensor() - step);
            var.set(&moved.expect("an update")).expect("a new value");
            self.state.moments.insert(name, (moment, steps));
        }
    }

    pub fn picture(&mut self) -> Picture {
        let moments = self.state.moments.iter();
        let moments: Vec<_> =
            moments.map(|(name, (moment, steps))| (name.clone(), bits(moment), *steps)).collect();
        let frozen = self.frozen_names();
        let names = self.net.vars_by_name().into_iter().map(|(name, _)| name);
        Picture {
            tensors: tensors(&self.net),
            state_bytes: moments.iter().map(|(_, moment, _)| 4 * moment.len()).sum(),
            moments,
            trained: names.filter(|name| !frozen.contains(name)).collect(),
            dropout_position: self.net.block.dropout.state().position,
        }
    }
}
