//! `LayerFreezing` as a trait object for `Training`, so that its schedule can be of any type.

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Schedule};
use crate::train::MetricSink;
use crate::train::hook::{Audited, LayerFreezing, Report};

/// The methods of the hook that a run calls.
pub(super) trait Policy<M>: Send {
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

    fn schedule_mut(&mut self) -> &mut dyn Schedule;

    fn audited(&mut self) -> &mut Audited;

    fn rewind(&mut self);

    fn finish(&mut self) -> Result<()>;

    fn describe(&self) -> String;
}

impl<M: Freezable, S: Schedule + Send, K: MetricSink> Policy<M> for LayerFreezing<S, K> {
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

    fn schedule_mut(&mut self) -> &mut dyn Schedule {
        LayerFreezing::<S, K>::schedule_mut(self)
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
        self.schedule().describe()
    }
}
