//! When a run freezes: the reference's schedule by epoch and by step, and one with a memory.

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::Optimizer;
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim::{ParamsSgd, Sgd};
use freeze_core::policy::{Linear as LinearSchedule, Needs, Observation};
use freeze_core::{
    Decision, Elapsed, FreezePlan, Freezer, LayerFreezing, PlanOptimizer, Policy, Result,
};

use crate::rig::Net;

/// Freezes one more leaf each time it is asked, and remembers how often that was.
#[derive(Default)]
pub struct OneMore {
    asked: usize,
}

impl Policy for OneMore {
    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        self.asked += 1;
        let (mut plan, last) = (base.clone(), base.len() - 1);
        let depth = self.asked.min(last);
        plan.freeze_front(depth)?;
        Ok(Decision::new(plan))
    }

    fn describe(&self) -> String {
        "one_more".into()
    }

    fn state(&self) -> serde_json::Value {
        self.asked.into()
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        let fault = || freeze_core::Error::PolicyState {
            policy: self.describe(),
            why: format!("expected a number, got {state}"),
        };
        self.asked = state.as_u64().ok_or_else(fault)? as usize;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    LinearByEpoch,
    LinearByStep,
    OneMoreByEpoch,
}

pub enum Hook {
    Linear(LayerFreezing<LinearSchedule>),
    OneMore(LayerFreezing<OneMore>),
}

impl Hook {
    pub fn new(when: When) -> Result<Self> {
        Ok(match when {
            When::LinearByEpoch => Self::Linear(LayerFreezing::new(0.2, 1.0)?),
            When::LinearByStep => Self::Linear(LayerFreezing::new(0.2, 1.0)?.every_steps(2)?),
            When::OneMoreByEpoch => Self::OneMore(LayerFreezing::with_policy(OneMore::default())),
        })
    }

    pub fn rewind(&mut self) {
        match self {
            Self::Linear(hook) => hook.rewind(),
            Self::OneMore(hook) => hook.rewind(),
        }
    }

    pub fn policy(&mut self) -> &mut dyn Policy {
        match self {
            Self::Linear(hook) => hook.policy_mut(),
            Self::OneMore(hook) => hook.policy_mut(),
        }
    }

    pub fn step_end(
        &mut self,
        net: &mut Freezer<Net>,
        opt: &mut dyn PlanOptimizer,
        elapsed: Elapsed,
    ) -> Result<()> {
        match self {
            Self::Linear(hook) => hook.step_end(net, &mut [opt], elapsed).map(drop),
            Self::OneMore(hook) => hook.step_end(net, &mut [opt], elapsed).map(drop),
        }
    }

    pub fn epoch_end(
        &mut self,
        net: &mut Freezer<Net>,
        opt: &mut dyn PlanOptimizer,
        elapsed: Elapsed,
    ) -> Result<()> {
        match self {
            Self::Linear(hook) => hook.epoch_end(net, &mut [opt], elapsed).map(drop),
            Self::OneMore(hook) => hook.epoch_end(net, &mut [opt], elapsed).map(drop),
        }
    }
}

/// Remembers how far the first weight went in each step, which takes a copy of it before.
#[derive(Default)]
struct Watch {
    went: Vec<Option<f64>>,
}

impl Policy for Watch {
    fn needs(&self, _: Elapsed) -> Needs {
        Needs::WEIGHT_CHANGE
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        self.went.push(seen.tensors()[0].weight_change_norms()?.map(|norms| norms.l2));
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "watch".into()
    }
}

/// What becomes of the hook behind a step of a loop by hand.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Another goes on from a checkpoint.
    Another,
    /// The same goes back to it after two more steps, on another thread, and takes it up twice.
    Back,
}

/// A step of a loop by hand.
fn watched_step(
    (net, opt, hook): (&mut Freezer<Net>, &mut Sgd, &mut LayerFreezing<Watch>),
    step: usize,
) -> Result<()> {
    let x = Tensor::ones((2, 5), DType::F32, &Device::Cpu)?;
    let loss = net.forward_t(&x, false)?.sqr()?.mean_all()?;
    let grads = hook.backward(net, &loss)?;
    let before = Elapsed::new(0, 1).at_step(step, 4);
    let seen = hook.before_update(net, &mut [opt], &grads, before)?;
    opt.step(&grads)?;
    hook.after_update(seen, &mut [opt], 0.0, before.at_step(step + 1, 4))
}

/// What the policy saw in a loop of four steps, the second of which is followed by a turn.
fn watched(turn: Option<Turn>) -> Result<Vec<Option<f64>>> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    let mut net = Freezer::new(Net::new(3, 1)?)?;
    net.vars().iter().try_for_each(|var| var.set(&(var.ones_like()? * 0.1)?))?;
    let params = ParamsSgd { lr: 0.1, ..Default::default() };
    let mut opt = Sgd::with_names(net.planned_vars(), params)?;
    let mut hook = LayerFreezing::with_policy(Watch::default());
    let mut went = Vec::new();
    for step in 0..4 {
        watched_step((&mut net, &mut opt, &mut hook), step)?;
        let Some(turn) = turn.filter(|_| step == 1) else { continue };
        hook.registered_in(Checkpoint::of(&mut net).optimizer(&mut opt)).save(&path)?;
        went.append(&mut hook.policy_mut().went);
        match turn {
            Turn::Another => {
                hook = LayerFreezing::with_policy(Watch::default());
                hook.registered_in(Checkpoint::of(&mut net).optimizer(&mut opt)).resume(&path)?;
            }
            Turn::Back => std::thread::scope(|scope| {
                let back = scope.spawn(|| {
                    for later in [2, 3] {
                        watched_step((&mut net, &mut opt, &mut hook), later)?;
                    }
                    hook.policy_mut().went.clear();
                    hook.rewind();
                    for _ in 0..2 {
                        let run = Checkpoint::of(&mut net).optimizer(&mut opt);
                        hook.registered_in(run).resume(&path)?;
                    }
                    Ok::<(), freeze_core::Error>(())
                });
                back.join().expect("no panic")
            })?,
        }
    }
    went.append(&mut hook.policy_mut().went);
    Ok(went)
}

#[test]
fn what_a_hook_keeps_for_its_policy_is_saved_in_a_loop_by_hand() -> Result<()> {
    let whole = watched(None)?;
    assert!(whole[1..].iter().all(|went| went.is_some_and(|went| went > 0.0)), "{whole:?}");
    for turn in [Turn::Another, Turn::Back] {
        assert_eq!(watched(Some(turn))?, whole, "{turn:?}");
    }
    Ok(())
}
