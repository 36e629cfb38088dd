//! `LayerFreezing`: asks its policy for a decision when it is due, and applies it to model and
//! optimizers.

mod audited;
mod begin;
mod checked;
mod functional;
mod observed;
mod report;
mod saved;

use std::fmt;

use crate::error::{Error, Result, at_least_1};
use crate::model::{Freezable, Freezer};
use crate::plan::PlanOptimizer;
use crate::policy::{Boxed, Decision, Elapsed, Floor, Linear, Moment, Observer, Policy, Progress};
use crate::train::metrics::{Lasting, Lost};
use crate::train::{MetricSink, PlanNow};
pub(crate) use audited::Audited;
pub use functional::freeze_layers;
pub use observed::Observed;
pub use report::Report;

/// Freezes leaves during training, as its policy decides: call [`epoch_end`](Self::epoch_end) after
/// every epoch, and for policies that act at other points [`begin`](Self::begin) and
/// [`step_end`](Self::step_end). [`Training`](super::Training) makes these calls.
///
/// The default policy is the reference's linear schedule, [`Linear`]. The reference acts only at the
/// end of an epoch, so a run of one epoch saves nothing and the last freeze comes when no step is
/// left; [`every_steps`](Self::every_steps) applies the same schedule between steps too.
///
/// It can be sent to another thread if its policy can.
pub struct LayerFreezing<P = Linear, K = ()> {
    policy: P,
    every: Every,
    floor: Floor,
    sink: K,
    /// Whether it was told of the start of the run, or it is known that this was forgotten.
    begun: bool,
    progress: Progress,
    audited: Audited,
    observer: Observer,
}

/// A hook of any types, as a run holds it.
pub(crate) type BoxedHook = LayerFreezing<Boxed, Lasting>;

#[derive(Debug)]
enum Every {
    /// When the policy is due.
    Due,
    /// Also after every so many steps.
    Steps(usize),
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
        Ok(Self::with_policy(Linear::new(freeze_start, freeze_level)?))
    }
}

impl<P: Policy> LayerFreezing<P> {
    /// A hook with any policy.
    pub fn with_policy(policy: P) -> Self {
        Self {
            policy,
            every: Every::Due,
            floor: Floor::default(),
            sink: (),
            begun: false,
            progress: Progress::default(),
            audited: Audited::default(),
            observer: Observer::default(),
        }
    }
}

/// A policy as it is, without settings of the hook.
impl<P: Policy> From<P> for LayerFreezing<P> {
    fn from(policy: P) -> Self {
        Self::with_policy(policy)
    }
}

impl<P: Policy, K: MetricSink> LayerFreezing<P, K> {
    /// Also acts between steps, whenever [`step_end`](Self::step_end) is called with a multiple of
    /// `steps` completed.
    ///
    /// # Errors
    ///
    /// `steps` is 0.
    pub fn every_steps(self, steps: usize) -> Result<Self> {
        Ok(Self { every: Every::Steps(at_least_1("steps", steps)?), ..self })
    }

    /// Lets the policy freeze every leaf. Otherwise the last leaf that can train goes on training.
    pub fn may_freeze_all(self) -> Self {
        Self { floor: Floor::Nothing, ..self }
    }

    /// Sends metrics and reasons to `sink` each time the policy is applied:
    /// `layer_freezing/layers_frozen` and `layer_freezing/percentage_frozen`, named as the reference
    /// names them, and what else the policy [reports](Decision::metrics).
    pub fn with_sink<N: MetricSink>(self, sink: N) -> LayerFreezing<P, N> {
        let Self { policy, every, floor, sink: _, begun, progress, audited, observer } = self;
        LayerFreezing { policy, every, floor, sink, begun, progress, audited, observer }
    }

    /// The same hook, whatever its types; that its sink fails is told of in `lost`.
    pub(crate) fn boxed(self, lost: &Lost) -> BoxedHook
    where
        P: Send + 'static,
        K: 'static,
    {
        let Self { policy, every, floor, sink, begun: _, progress, audited, observer } = self;
        let (policy, sink): (Boxed, _) = (Box::new(policy), Lasting::new(sink, lost));
        // The run makes the call.
        let begun = true;
        LayerFreezing { policy, every, floor, sink, begun, progress, audited, observer }
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The policy, to load its state.
    pub fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Applies the policy at the end of an epoch. `elapsed` counts completed epochs:
    /// `Elapsed::new(epoch + 1, epochs)`, and also steps, by [`Elapsed::at_step`], for policies that
    /// act by steps. A policy that is not due changes nothing.
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
        self.settle_begin(elapsed, elapsed.epoch <= 1);
        if self.policy.is_due(elapsed, Moment::Epoch) || self.is_multiple(elapsed) {
            return self.apply(freezer, optimizers, elapsed);
        }
        self.progress = self.progress.at(elapsed)?;
        let decision = Decision::new(freezer.plan().clone());
        let report = Report::of(decision.unchanged(), freezer.no_change(), self.audited.report());
        Ok(report.unasked())
    }

    /// Applies the policy after an optimizer step, if it is due then or by
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
        if matches!(self.every, Every::Steps(_)) {
            elapsed.check_steps()?;
        }
        if elapsed.steps > 0 {
            elapsed.fraction()?;
        }
        self.settle_begin(elapsed, elapsed.step <= 1);
        if self.policy.is_due(elapsed, Moment::Step) || self.is_multiple(elapsed) {
            return self.apply(freezer, optimizers, elapsed).map(Some);
        }
        self.progress = self.progress.at(elapsed)?;
        Ok(None)
    }

    fn is_multiple(&self, elapsed: Elapsed) -> bool {
        match self.every {
            Every::Due => false,
            Every::Steps(every) => elapsed.step > 0 && elapsed.step.is_multiple_of(every),
        }
    }

    fn apply<M: Freezable>(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Report> {
        let progress = self.progress.at(elapsed)?;
        let (decision, change) =
            freezer.follow_down_to(self.floor, &mut self.policy, elapsed, optimizers)?;
        self.progress = progress;
        let report = Report::of(decision, change, self.audited.report());
        self.audited.warn_if_blind();
        for (name, &value) in &report.metrics {
            let unrecorded =
                |source| Error::Unrecorded { metric: name.clone(), source: Box::new(source) };
            self.sink.record(name, value, elapsed).map_err(unrecorded)?;
        }
        for reason in &report.why {
            let metric = || format!("why `{}` changed", reason.leaf);
            let unrecorded =
                |source| Error::Unrecorded { metric: metric(), source: Box::new(source) };
            self.sink.reason(reason, elapsed).map_err(unrecorded)?;
        }
        self.tell_plan(freezer, elapsed)?;
        Ok(report)
    }

    /// Tells the sink which leaves train now.
    fn tell_plan<M: Freezable>(&mut self, freezer: &Freezer<M>, elapsed: Elapsed) -> Result<()> {
        let now = PlanNow::of(freezer.plan()).policy(self.policy.describe());
        let unrecorded =
            |source| Error::Unrecorded { metric: "plan".to_string(), source: Box::new(source) };
        self.sink.plan(&now, elapsed).map_err(unrecorded)
    }

    /// Lets the next progress be earlier than the last, once: for a run that resumes from an older
    /// checkpoint with the same hook.
    pub fn rewind(&mut self) {
        self.progress = Progress::default();
    }

    pub(super) fn sink_mut(&mut self) -> &mut K {
        &mut self.sink
    }

    /// Tells the sink that the run has ended.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub fn finish(&mut self) -> Result<()> {
        self.sink.finish()
    }
}

impl BoxedHook {
    /// The same hook with its policy inside another one.
    pub(crate) fn within(self, around: impl FnOnce(Boxed) -> Boxed) -> Self {
        Self { policy: around(self.policy), ..self }
    }

    /// The same hook without its sink.
    pub(crate) fn silent(self, lost: &Lost) -> Self {
        Self { sink: Lasting::new((), lost), ..self }
    }
}

impl<P: Policy, K> fmt::Debug for LayerFreezing<P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerFreezing")
            .field("policy", &self.policy.describe())
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
