//! The end of an epoch: policy, metrics, checkpoint.

use super::driven::as_plan;
use super::metrics::{Lasting, PlanNow};
use super::report::EpochReport;
use super::stop::Stopped;
use super::training::Training;
use crate::cache::CacheStats;
use crate::error::{Error, Result};
use crate::kernel::bytes_of;
use crate::model::Freezable;
use crate::policy::{Elapsed, Reason};
use crate::train::hook::Report;

/// The metric of an epoch's mean loss.
const LOSS: &str = "train/loss";

/// The metric of the bytes of gradients that a rank sent in an epoch.
const REDUCED: &str = "parallel/reduced_bytes";

/// Why a leaf changed that no policy did.
const BY_HAND: &str = "set by hand";

impl<M: Freezable> Training<M> {
    /// Ends the epoch: asks the policy, records the mean loss as `train/loss` together with
    /// `metrics`, and with a cache its counts in the epoch, its size and the seconds saved as
    /// `activation_cache/hits`, `extended`, `misses`, `records`, `memory_bytes`, `device_bytes`, `disk_bytes`
    /// and `seconds_saved`, with several ranks the bytes that each added up with the others as
    /// `parallel/reduced_bytes`; stops early and saves if due. Of a run that was stopped within the epoch nothing is
    /// asked or recorded; the first call saves it if [`OnNonFinite::Stop`](super::OnNonFinite) stopped it,
    /// unless a batch is between two of its [`turns`](Self::turns), or gradients of several ranks wait for
    /// an update.
    ///
    /// # Errors
    ///
    /// Batches of the epoch are missing, the metric of [`EarlyStop`](super::EarlyStop) is not among
    /// `metrics`, or the policy's plan is refused: nothing has changed then. If saving fails, the epoch has
    /// ended nevertheless. A sink that fails is told of in [`EpochReport::unrecorded`].
    pub fn epoch_end<'a>(
        &mut self,
        metrics: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<EpochReport> {
        let mut report = EpochReport {
            elapsed: self.clock.elapsed(),
            loss: self.clock.mean_loss(),
            frozen: None,
            saved: None,
            stopped: self.clock.stopped,
            spent: self.clock.spent,
            cache: self.cache.as_ref().map(|cache| cache.stats().since(&self.cached)),
            traffic: self.traffic(),
            findings: Vec::new(),
            unrecorded: Vec::new(),
        };
        if report.stopped.is_some() {
            let saved = self.save_if_unfit();
            self.finish_sinks();
            report.saved = saved?;
            report.unrecorded = self.lost.take();
            return Ok(report);
        }
        let cached = report.cache.iter().flat_map(CacheStats::metrics);
        let named = |(name, value): (&str, f64)| (name.to_string(), value);
        let mut own = vec![named((LOSS, report.loss))];
        own.extend(cached.map(named));
        own.extend(report.traffic.map(|sent| named((REDUCED, sent.reduced as f64))));
        own.extend(metrics.into_iter().map(named));
        let full = self.check_full();
        let metrics = self.metrics_of_all(full.map(|()| own))?;
        let metrics = metrics.iter().map(|(name, value)| (name.as_str(), *value));
        let metrics: Vec<(&str, f64)> = metrics.collect();
        let mut next = self.clock.clone();
        next.end_epoch();
        if let Some(early) = &self.early {
            let value = metrics.iter().rev().find(|(name, _)| *name == early.metric);
            let Some(&(_, value)) = value else {
                let (metric, names) = (&early.metric, metrics.iter().map(|(name, _)| *name));
                let names = crate::error::listed(names);
                return Err(Error::training(format!(
                    "early stopping goes by `{metric}`, which is not among the epoch's metrics \
                     ({names}); hand it to `epoch_end`"
                )));
            };
            next.stopped = early.says_stop(&mut next.patience, value).then_some(Stopped::Early);
        }
        report.elapsed = next.elapsed();
        // One that was given within the epoch.
        let began = self.begin_policy();
        self.telling(began)?;
        next.asked = self.clock.asked;
        if let Some(policy) = &mut self.policy {
            let mut optimizers = as_plan(&mut self.optimizers);
            let frozen = policy.epoch_end(&mut self.freezer, &mut optimizers, report.elapsed);
            // Also if the plan was refused.
            self.planned();
            let frozen = frozen?;
            report.findings = frozen.findings.clone();
            if frozen.ends_run {
                next.stopped = Some(Stopped::Policy);
            }
            report.frozen = Some(frozen);
        }
        report.findings.splice(0..0, self.found.drain(..));
        report.findings.extend(self.audited.report());
        self.check_equal()?;
        self.clock = next;
        report.stopped = self.clock.stopped;
        if let Some(frozen) = &report.frozen {
            self.record_frozen(frozen, report.elapsed);
        }
        self.record(metrics, report.elapsed);
        self.tell_plan(None);
        self.each_sink(|sink| sink.spent(&report.spent, report.elapsed));
        self.each_sink(Lasting::flush);
        let saved = self.save_if_due();
        self.finish_sinks();
        report.saved = saved?;
        report.unrecorded = self.lost.take();
        Ok(report)
    }

    fn check_full(&self) -> Result<()> {
        if self.clock.within && self.clock.epoch_is_full() {
            return Ok(());
        }
        let (done, batches) = (self.clock.batches_done(), self.clock.length.batches);
        Err(Error::training(format!(
            "{done} of the epoch's {batches} batches are done; call `step` for each before \
             `epoch_end`, or say the number there is by `length` before the run begins"
        )))
    }

    /// Records the metrics in the history and in all sinks.
    pub(super) fn record<'a>(
        &mut self,
        metrics: impl IntoIterator<Item = (&'a str, f64)>,
        elapsed: Elapsed,
    ) {
        for (name, value) in metrics {
            self.history.record(name, value, elapsed);
            self.sinks.iter_mut().for_each(|sink| sink.record(name, value, elapsed));
        }
    }

    /// Records what the policy did: its metrics and its reasons. If it was not asked there is nothing new to
    /// record, and counts of the plan alone would mean something else than the policy's own.
    pub(super) fn record_frozen(&mut self, frozen: &Report, elapsed: Elapsed) {
        if !frozen.asked {
            return;
        }
        let metrics = frozen.metrics.iter().map(|(name, &value)| (name.as_str(), value));
        self.record(metrics, elapsed);
        for sink in &mut self.sinks {
            frozen.why.iter().for_each(|reason| sink.reason(reason, elapsed));
        }
    }

    /// Tells all sinks which leaves train, which of them were set by hand and, once that is known, how many bytes the graph
    /// of a batch holds, unless they know.
    pub(super) fn tell_plan(&mut self, activation_bytes: Option<usize>) {
        if std::mem::replace(&mut self.told, true) && activation_bytes.is_none() {
            return;
        }
        let policy = self.policy.as_ref().map(|hook| hook.policy().describe());
        let plan = self.freezer.plan().clone();
        let state_bytes = self.optimizers.iter().map(|driven| driven.state_bytes()).sum();
        let gradient_bytes = Some(self.trained_bytes());
        let cached = self.cached_leaves();
        let now = PlanNow {
            policy,
            state_bytes,
            gradient_bytes,
            activation_bytes,
            ..PlanNow::of(&plan).cached(cached)
        };
        let elapsed = self.clock.elapsed();
        let reason = |leaf| Reason { leaf, text: BY_HAND.to_string() };
        let by_hand: Vec<Reason> = self.set_by_hand.drain(..).map(reason).collect();
        self.each_sink(|sink| {
            by_hand.iter().for_each(|reason| sink.reason(reason, elapsed));
            sink.plan(&now, elapsed);
        });
    }

    fn trained_bytes(&self) -> usize {
        let vars = self.freezer.trained_vars();
        vars.iter().map(|var| bytes_of(var)).sum()
    }

    /// The number of leaves in front of the cache's boundary.
    fn cached_leaves(&self) -> usize {
        let boundary = self.cache.as_ref().and_then(|cache| cache.stats().boundary);
        let Some(boundary) = boundary else { return 0 };
        let is_behind = |leaf: &String| {
            leaf.strip_prefix(&*boundary)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.freezer.plan().paths().iter().position(is_behind).unwrap_or(0)
    }

    /// Calls something of all sinks.
    pub(super) fn each_sink(&mut self, call: impl FnMut(&mut Lasting)) {
        let own = self.policy.iter_mut().map(|policy| policy.sink_mut());
        self.sinks.iter_mut().chain(own).for_each(call);
    }

    /// Calls `finish` of all sinks once, if the run is over.
    pub(super) fn finish_sinks(&mut self) {
        if self.clock.is_over() && !std::mem::replace(&mut self.finished, true) {
            self.each_sink(Lasting::finish);
        }
    }
}
