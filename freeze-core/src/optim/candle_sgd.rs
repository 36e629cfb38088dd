//! Lets candle's own SGD follow a plan: it has no state, and skips a variable without a gradient.

use std::collections::HashSet;

use candle_core::{TensorId, Var};
use candle_nn::{Optimizer, SGD};

use super::rule::check_for;
use crate::error::{Error, Result, listed};
use crate::plan::{LeafState, OptimizerState, PlanOptimizer, PlannedVar, Prepared, Released};

/// It moves whatever has a gradient. [`Training`](crate::Training) and
/// [`LayerFreezing::backward`](crate::LayerFreezing::backward) leave none of frozen parameters; a `backward` of
/// your own may, if a penalty reaches them.
impl PlanOptimizer for SGD {
    fn owned(&mut self) -> Vec<TensorId> {
        vars(self).iter().map(|var| var.id()).collect()
    }

    fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<Prepared<'_, Released>> {
        check_plan(self, vars)?;
        Ok(Prepared::new(|| Released { state_bytes: Some(0) }))
    }

    fn steps_in_parts(&self) -> bool {
        true
    }

    fn keeps_no_gradient(&self) -> bool {
        true
    }

    fn state_bytes(&self) -> Option<usize> {
        Some(0)
    }

    fn kind(&self) -> &'static str {
        "candle_nn::SGD"
    }

    fn save_state(&mut self) -> Result<OptimizerState> {
        Ok(OptimizerState {
            kind: self.kind().to_string(),
            learning_rate: self.learning_rate(),
            ..Default::default()
        })
    }

    fn prepare_state(
        &mut self,
        state: &OptimizerState,
        planned: &[PlannedVar],
    ) -> Result<Prepared<'_, ()>> {
        let fault = |why: String| Error::OptimizerState { optimizer: "candle_nn::SGD", why };
        if state.kind != self.kind() {
            return Err(fault(format!("it was saved by {}", state.kind)));
        }
        for var in vars(self) {
            check_for(var.dtype(), "learning rate", state.learning_rate).map_err(fault)?;
        }
        let names: Vec<String> = state.tensors.keys().chain(state.steps.keys()).cloned().collect();
        if !names.is_empty() {
            return Err(fault(format!("it keeps no state, but found {}", listed(names))));
        }
        check_plan(self, planned)?;
        let learning_rate = state.learning_rate;
        Ok(Prepared::new(move || self.set_learning_rate(learning_rate)))
    }
}

/// An error for plans with learning-rate shares: candle's SGD has one learning rate for all
/// variables.
fn check_plan(optimizer: &mut SGD, planned: &[PlannedVar]) -> Result<()> {
    let owned: HashSet<TensorId> = vars(optimizer).iter().map(|var| var.id()).collect();
    for var in planned.iter().filter(|var| owned.contains(&var.var.id())) {
        match var.state {
            LeafState::Trained { lr_scale } if lr_scale != 1.0 => {
                return Err(Error::Optimizer {
                    optimizer: optimizer.kind(),
                    name: var.name.to_string(),
                    why: format!(
                        "it has one learning rate for all, so it cannot scale it by {lr_scale}; \
                         use `freeze_core::optim::Sgd` or `PerParam::<SGD>`"
                    ),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The optimizer's variables, which candle gives access to only by taking the optimizer apart.
fn vars(optimizer: &mut SGD) -> Vec<Var> {
    let Ok(empty) = SGD::new(Vec::new(), optimizer.learning_rate()) else {
        return Vec::new();
    };
    let vars = std::mem::replace(optimizer, empty).into_inner();
    vars.iter().for_each(|var| optimizer.push(var));
    vars
}
