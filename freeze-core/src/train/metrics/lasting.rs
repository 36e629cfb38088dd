//! A sink whose failure does not stop the run.

use std::fmt;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use super::{MetricSink, PlanNow};
use crate::error::Result;
use crate::policy::{Elapsed, Reason};
use crate::train::Spent;

/// Passes everything on until the sink fails; that is told once, and the sink is left alone from then on.
pub(crate) struct Lasting {
    /// `None` once it has failed.
    sink: Option<Box<dyn MetricSink>>,
    lost: Lost,
}

/// What the sinks of a run have told of their failures, until it is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost(Arc<Mutex<Vec<String>>>);

impl Lost {
    pub(crate) fn take(&self) -> Vec<String> {
        take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, told: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }
}

impl Lasting {
    pub(crate) fn new(sink: impl MetricSink + 'static, lost: &Lost) -> Self {
        Self { sink: Some(Box::new(sink)), lost: lost.clone() }
    }

    pub(crate) fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) {
        self.pass(|sink| sink.record(name, value, elapsed), &format_args!("`{name}`"));
    }

    pub(crate) fn reason(&mut self, reason: &Reason, elapsed: Elapsed) {
        let what = format_args!("why `{}` changed", reason.leaf);
        self.pass(|sink| sink.reason(reason, elapsed), &what);
    }

    pub(crate) fn plan(&mut self, now: &PlanNow<'_>, elapsed: Elapsed) {
        self.pass(|sink| sink.plan(now, elapsed), &"which leaves train");
    }

    pub(crate) fn spent(&mut self, spent: &Spent, elapsed: Elapsed) {
        self.pass(|sink| sink.spent(spent, elapsed), &"the time of the epoch");
    }

    pub(crate) fn flush(&mut self) {
        self.pass(|sink| sink.flush(), &"the epoch");
    }

    pub(crate) fn resume(&mut self, at: Elapsed) {
        self.pass(|sink| sink.resume(at), &"where the run resumes");
    }

    pub(crate) fn finish(&mut self) {
        self.pass(|sink| sink.finish(), &"the end");
    }

    fn pass(
        &mut self,
        call: impl FnOnce(&mut dyn MetricSink) -> Result<()>,
        what: &dyn fmt::Display,
    ) {
        let Some(sink) = &mut self.sink else { return };
        if let Err(error) = call(&mut **sink) {
            self.sink = None;
            let told = format!("a sink could not record {what} and gets nothing more: {error}");
            tracing::error!("{told}");
            self.lost.add(told);
        }
    }
}

impl MetricSink for Lasting {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        Self::record(self, name, value, elapsed);
        Ok(())
    }

    fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> Result<()> {
        Self::reason(self, reason, elapsed);
        Ok(())
    }

    fn plan(&mut self, now: &PlanNow<'_>, elapsed: Elapsed) -> Result<()> {
        Self::plan(self, now, elapsed);
        Ok(())
    }
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lasting").field("records", &self.sink.is_some()).finish()
    }
}
