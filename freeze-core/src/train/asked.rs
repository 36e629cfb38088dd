//! `LayerFreezing` as a trait object for `Training`, so that its policy can be of any type.

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Policy};
use crate::train::MetricSink;
use crate::train::hook::{Audited, LayerFreezing, Report};

/// The methods of the hook that a run calls.
pub(super) trait Hook<M>: Send {
    fn begin(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Option<Report>>;

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

    fn policy_mut(&mut self) -> &mut dyn Policy;

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
    ) -> Result<Option<Report>> {
        LayerFreezing::begin(self, freezer, optimizers, elapsed)
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

    fn policy_mut(&mut self) -> &mut dyn Policy {
        LayerFreezing::<P, K>::policy_mut(self)
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
