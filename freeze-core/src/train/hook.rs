//! `LayerFreezing`: asks its schedule for a plan after every epoch, or every n steps, and applies
//! it to model and optimizers.

mod audited;

use std::collections::BTreeMap;
use std::fmt;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::audit::{Audit, Finding, audit};
use crate::error::{Error, Result, at_least_1};
use crate::model::{Freezable, Freezer};
use crate::nn::backward;
use crate::plan::{Change, PlanOptimizer};
use crate::policy::{Decision, Elapsed, Linear, Progress, Reason, Schedule};
use crate::train::MetricSink;
pub(crate) use audited::Audited;

/// Freezes leaves during training: call [`epoch_end`](Self::epoch_end) after every epoch.
///
/// The default schedule is the reference's linear one, [`Linear`]. The reference acts only at the
/// end of an epoch, so a run of one epoch saves nothing and the last freeze comes when no step is
/// left; [`every_steps`](Self::every_steps) applies the same schedule between steps too.
///
/// It can be sent to another thread if its schedule can.
pub struct LayerFreezing<S = Linear, K = ()> {
    schedule: S,
    every: Every,
    sink: K,
    progress: Progress,
    audited: Audited,
}

#[derive(Debug)]
enum Every {
    Epoch,
    Steps(usize),
}

/// What the hook did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// What changed in model and optimizers: leaves frozen, tied parameters that still train,
    /// parameters and bytes released.
    pub change: Change,
    /// The reasons: a sentence for each leaf that froze or thawed, in the order of the leaves.
    pub why: Vec<Reason>,
    /// The policy's metrics by name; they always include those of the reference, under its names.
    pub metrics: BTreeMap<String, f64>,
    /// Findings in the steps since the last report, if the hook checked them:
    /// [`LayerFreezing::backward`], [`LayerFreezing::audit_change`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// The number of leaves that the policy freezes from the front.
    pub fn depth(&self) -> usize {
        self.metrics.get(Decision::LAYERS_FROZEN).map_or(0, |&depth| depth as usize)
    }

    /// The share that the policy has frozen, in [0, 1]; see [`Decision::percentage`].
    pub fn percentage(&self) -> f64 {
        self.metrics.get(Decision::PERCENTAGE_FROZEN).copied().unwrap_or(0.0)
    }
}

impl LayerFreezing<Linear> {
    /// A hook with the reference's schedule: it starts at `freeze_start`, a share of the run in
    /// [0, 1), and freezes linearly up to `freeze_level`, a share of the leaves in [0, 1], at the
    /// end.
    ///
    /// # Errors
    ///
    /// A number outside its range, or NaN.
    pub fn new(freeze_start: f64, freeze_level: f64) -> Result<Self> {
        Ok(Self::with_schedule(Linear::new(freeze_start, freeze_level)?))
    }
}

impl<S: Schedule> LayerFreezing<S> {
    /// A hook with any schedule.
    pub fn with_schedule(schedule: S) -> Self {
        let (progress, audited) = (Progress::default(), Audited::default());
        Self { schedule, every: Every::Epoch, sink: (), progress, audited }
    }
}

impl<S: Schedule, K: MetricSink> LayerFreezing<S, K> {
    /// Also acts between steps, whenever [`step_end`](Self::step_end) is called with a multiple of
    /// `steps` completed.
    ///
    /// # Errors
    ///
    /// `steps` is 0.
    pub fn every_steps(self, steps: usize) -> Result<Self> {
        Ok(Self { every: Every::Steps(at_least_1("steps", steps)?), ..self })
    }

    /// Sends the metrics to `sink` each time the schedule is applied: `layer_freezing/layers_frozen` and
    /// `layer_freezing/percentage_frozen`, named as the reference names them, and what else the
    /// schedule [reports](Decision::metrics).
    pub fn with_sink<N: MetricSink>(self, sink: N) -> LayerFreezing<S, N> {
        let Self { schedule, every, sink: _, progress, audited } = self;
        LayerFreezing { schedule, every, sink, progress, audited }
    }

    /// The schedule.
    pub fn schedule(&self) -> &S {
        &self.schedule
    }

    /// The schedule, to load its state.
    pub fn schedule_mut(&mut self) -> &mut S {
        &mut self.schedule
    }

    /// Applies the schedule at the end of an epoch. `elapsed` counts completed epochs:
    /// `Elapsed::new(epoch + 1, epochs)`.
    ///
    /// # Errors
    ///
    /// As [`Freezer::follow`], or `elapsed` goes backwards: nothing has changed then. Or the sink
    /// failed ([`Error::Unrecorded`]): the plan has been applied then.
    pub fn epoch_end<M: Freezable>(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Report> {
        let progress = self.progress.at(elapsed)?;
        let (decision, change) = freezer.follow(&mut self.schedule, elapsed, optimizers)?;
        self.progress = progress;
        let Decision { why, metrics, .. } = decision;
        let report = Report { change, why, metrics, findings: self.audited.report() };
        self.audited.warn_if_blind();
        for (name, &value) in &report.metrics {
            let unrecorded =
                |source| Error::Unrecorded { metric: name.clone(), source: Box::new(source) };
            self.sink.record(name, value, elapsed).map_err(unrecorded)?;
        }
        Ok(report)
    }

    /// Applies the schedule after an optimizer step, if it is due by
    /// [`every_steps`](Self::every_steps). `elapsed` counts completed steps over the whole run:
    /// `Elapsed::new(epoch, epochs).at_step(step + 1, steps)`.
    ///
    /// # Errors
    ///
    /// As [`epoch_end`](Self::epoch_end), or `elapsed` has no steps although
    /// [`every_steps`](Self::every_steps) is set.
    pub fn step_end<M: Freezable>(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Option<Report>> {
        let Every::Steps(every) = self.every else { return Ok(None) };
        if elapsed.steps == 0 {
            let expected = "the steps of the whole run: `Elapsed::at_step(step, steps)`";
            return Err(Error::count("steps", elapsed.steps, expected));
        }
        elapsed.fraction()?;
        if elapsed.step > 0 && elapsed.step.is_multiple_of(every) {
            return self.epoch_end(freezer, optimizers, elapsed).map(Some);
        }
        self.progress = self.progress.at(elapsed)?;
        Ok(None)
    }

    /// Lets the next progress be earlier than the last, once: for a run that resumes from an older
    /// checkpoint with the same hook.
    pub fn rewind(&mut self) {
        self.progress = Progress::default();
    }

    /// Tells the sink that the run has ended.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub fn finish(&mut self) -> Result<()> {
        self.sink.finish()
    }

    /// [`backward`](crate::backward). On the first step, and on the first after leaves froze or thawed, it also
    /// looks whether gradients arrived where they should ([`glance`](crate::audit::glance)), which takes about as long as a
    /// walk through the graph; every finding is warned of through `tracing` and is in the next
    /// [`Report`].
    ///
    /// # Errors
    ///
    /// The backward failed, or as [`glance`](crate::audit::glance).
    pub fn backward<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        loss: &Tensor,
    ) -> Result<GradStore> {
        let grads = backward(loss)?;
        self.audited.look(freezer, loss, &grads)?;
        Ok(grads)
    }

    /// The record of checked steps, for callers that run the backward pass themselves.
    pub(crate) fn audited(&mut self) -> &mut Audited {
        &mut self.audited
    }

    /// Audits the model on the first step, and on the first one after leaves froze or thawed; does
    /// nothing in between. Call it before each step with that step's loss. Every finding is also a
    /// `tracing` warning.
    ///
    /// # Errors
    ///
    /// As [`audit`]; the next call tries again.
    pub fn audit_change<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        loss: impl Fn(&M) -> candle_core::Result<Tensor>,
    ) -> Result<Option<Audit>> {
        let Some(frozen) = self.audited.is_due(freezer) else { return Ok(None) };
        let audit = audit(freezer, loss)?;
        self.audited.take(audit.findings(), frozen);
        Ok(Some(audit))
    }
}

impl<S: Schedule, K> fmt::Debug for LayerFreezing<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerFreezing")
            .field("schedule", &self.schedule.describe())
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// The functional form of the reference: applies the linear schedule at `current_duration`, the
/// completed share of the run in [0, 1], and returns depth and percentage.
///
/// # Errors
///
/// A number outside its range, or as [`Freezer::apply`]. Nothing has changed then.
pub fn freeze_layers<M: Freezable>(
    freezer: &mut Freezer<M>,
    optimizers: &mut [&mut dyn PlanOptimizer],
    current_duration: f64,
    freeze_start: f64,
    freeze_level: f64,
) -> Result<(usize, f64)> {
    let schedule = Linear::new(freeze_start, freeze_level)?;
    let decision = schedule.refined(current_duration, freezer.base())?;
    freezer.refine(&decision.plan, optimizers)?;
    Ok((decision.depth(), decision.percentage()))
}
