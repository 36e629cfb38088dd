//! An optimizer of any type in a run.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::ops::{Deref, DerefMut};

use candle_core::backprop::GradStore;
use candle_core::{TensorId, Var};
use candle_nn::Optimizer;

use crate::error::Result;
use crate::plan::{OptimizerState, PlanOptimizer, PlannedVar, Prepared, Released};

/// An optimizer for [`Training`](super::Training). Implemented for every candle [`Optimizer`] that
/// is a [`PlanOptimizer`] and `Send`.
pub trait TrainOptimizer: PlanOptimizer + Any + Send {
    /// Updates every trained variable that has a gradient.
    ///
    /// # Errors
    ///
    /// Those of the optimizer's step.
    fn update(&mut self, grads: &GradStore) -> Result<()>;

    /// The current learning rate.
    fn rate(&self) -> f64;

    /// Sets the learning rate.
    fn set_rate(&mut self, rate: f64);
}

impl<O: Optimizer + PlanOptimizer + Send + 'static> TrainOptimizer for O {
    fn update(&mut self, grads: &GradStore) -> Result<()> {
        Ok(self.step(grads)?)
    }

    fn rate(&self) -> f64 {
        self.learning_rate()
    }

    fn set_rate(&mut self, rate: f64) {
        self.set_learning_rate(rate);
    }
}

/// An optimizer, with the learning rate that it was built with.
pub(super) struct Driven {
    optimizer: Box<dyn TrainOptimizer>,
    base: f64,
    owned: HashSet<TensorId>,
    /// The state to save, where ranks share it.
    whole: Option<OptimizerState>,
}

impl Driven {
    pub(super) fn new(mut optimizer: impl TrainOptimizer) -> Self {
        let (base, owned) = (optimizer.rate(), optimizer.owned().into_iter().collect());
        Self { optimizer: Box::new(optimizer), base, owned, whole: None }
    }

    /// The variables that it was built with.
    pub(super) fn owned_ids(&self) -> &HashSet<TensorId> {
        &self.owned
    }

    /// Updates those of `vars`, all of which have a gradient, that it owns, and returns them.
    pub(super) fn update_reached(
        &mut self,
        vars: &[Var],
        grads: &GradStore,
    ) -> Result<Vec<TensorId>> {
        let own = vars.iter().map(|var| var.id()).filter(|id| self.owned.contains(id));
        let own: Vec<TensorId> = own.collect();
        if !own.is_empty() {
            self.optimizer.update(grads)?;
        }
        Ok(own)
    }

    /// Sets the learning rate to a share of the one it was built with.
    pub(super) fn set_share(&mut self, share: f64) {
        self.optimizer.set_rate(self.base * share);
    }

    /// Sets what is saved in place of what the optimizer holds.
    pub(super) fn set_whole(&mut self, whole: Option<OptimizerState>) {
        self.whole = whole;
    }

    pub(super) fn as_plan(&mut self) -> &mut dyn PlanOptimizer {
        &mut *self.optimizer
    }

    pub(super) fn as_any(&self) -> &dyn Any {
        &*self.optimizer
    }

    pub(super) fn as_any_mut(&mut self) -> &mut dyn Any {
        &mut *self.optimizer
    }
}

/// The optimizer as it is saved and resumed.
impl PlanOptimizer for Driven {
    fn owned(&mut self) -> Vec<TensorId> {
        self.optimizer.owned()
    }

    fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<Prepared<'_, Released>> {
        self.optimizer.prepare_plan(vars)
    }

    fn state_bytes(&self) -> Option<usize> {
        self.optimizer.state_bytes()
    }

    fn kind(&self) -> &'static str {
        self.optimizer.kind()
    }

    fn save_state_as(&mut self, vars: &[PlannedVar]) -> Result<OptimizerState> {
        match &self.whole {
            Some(whole) => Ok(whole.clone()),
            None => self.optimizer.save_state_as(vars),
        }
    }

    fn prepare_state(
        &mut self,
        state: &OptimizerState,
        vars: &[PlannedVar],
    ) -> Result<Prepared<'_, ()>> {
        self.optimizer.prepare_state(state, vars)
    }
}

/// The optimizers in the form that calls on the freezer take.
pub(super) fn as_plan(optimizers: &mut [Driven]) -> Vec<&mut dyn PlanOptimizer> {
    optimizers.iter_mut().map(Driven::as_plan).collect()
}

impl Deref for Driven {
    type Target = dyn TrainOptimizer;

    fn deref(&self) -> &Self::Target {
        &*self.optimizer
    }
}

impl DerefMut for Driven {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.optimizer
    }
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.optimizer.kind()).field("rate", &self.optimizer.rate()).finish()
    }
}
