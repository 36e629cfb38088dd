//! When a run freezes: the reference's schedule by epoch and by step, and one with a memory.

use freeze_core::policy::Linear as LinearSchedule;
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
