//! `LayerFreezing` as a trait object for `Training`, so that its policy can be of any type.

use candle_core::backprop::GradStore;

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Needs, Observer, Policy, Shown};
use crate::train::MetricSink;
use crate::train::hook::{Audited, LayerFreezing, Observed, Report};

/// The methods of the hook that a run calls.
pub(super) trait Hook<M>: Send {
    fn begin(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
        shown: Shown,
    ) -> Result<Option<Report>>;

    fn needs_at_start(&self, elapsed: Elapsed) -> Needs;

    fn before_update(
        &mut self,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        grads: &GradStore,
        elapsed: Elapsed,
    ) -> Result<Observed>;

    fn before_backward(
        &mut self,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Observed>;

    fn after_update(
        &mut self,
        observed: Observed,
        optimizers: &mut [&mut dyn PlanOptimizer],
        loss: f64,
        elapsed: Elapsed,
    ) -> Result<()>;

    /// The policy, and what is kept for it between steps.
    fn saved_parts(&mut self) -> (&mut dyn Policy, &mut Observer);

    fn epoch_end(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Report>;

    fn step_end(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Option<Report>>;

    fn audited(&mut self) -> &mut Audited;

    fn rewind(&mut self);

    fn finish(&mut self) -> Result<()>;

    fn describe(&self) -> String;
}

impl<M: Freezable, P: Policy + Send, K: MetricSink> Hook<M> for LayerFreezing<P, K> {
    fn begin(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
        shown: Shown,
    ) -> Result<Option<Report>> {
        LayerFreezing::begin_shown(self, freezer, optimizers, elapsed, shown)
    }

    fn needs_at_start(&self, elapsed: Elapsed) -> Needs {
        LayerFreezing::needs_at_start(self, elapsed)
    }

    fn before_update(
        &mut self,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        grads: &GradStore,
        elapsed: Elapsed,
    ) -> Result<Observed> {
        LayerFreezing::before_update(self, freezer, optimizers, grads, elapsed)
    }

    fn before_backward(
        &mut self,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Observed> {
        LayerFreezing::before_backward(self, freezer, optimizers, elapsed)
    }

    fn after_update(
        &mut self,
        observed: Observed,
        optimizers: &mut [&mut dyn PlanOptimizer],
        loss: f64,
        elapsed: Elapsed,
    ) -> Result<()> {
        LayerFreezing::after_update(self, observed, optimizers, loss, elapsed)
    }

    fn saved_parts(&mut self) -> (&mut dyn Policy, &mut Observer) {
        LayerFreezing::saved_parts(self)
    }

    fn epoch_end(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Report> {
        LayerFreezing::epoch_end(self, freezer, optimizers, elapsed)
    }

    fn step_end(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Option<Report>> {
        LayerFreezing::step_end(self, freezer, optimizers, elapsed)
    }

    fn audited(&mut self) -> &mut Audited {
        LayerFreezing::audited(self)
    }

    fn rewind(&mut self) {
        LayerFreezing::rewind(self);
    }

    fn finish(&mut self) -> Result<()> {
        LayerFreezing::finish(self)
    }

    fn describe(&self) -> String {
        LayerFreezing::policy(self).describe()
    }
}
