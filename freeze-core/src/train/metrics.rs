//! Sinks for the metrics of a run.

mod appended;
mod csv;
#[cfg(feature = "report")]
mod html_report;
mod json_lines;
mod lasting;
mod plan_now;
#[cfg(feature = "tensorboard")]
mod tensor_board;

use crate::checkpoint::MetricHistory;
use crate::error::Result;
use crate::policy::{Elapsed, Reason};
use crate::train::Spent;

pub use csv::Csv;
#[cfg(feature = "report")]
pub use html_report::{Comparison, HtmlReport};
pub use json_lines::JsonLines;
pub(crate) use lasting::{Lasting, Lost};
pub use plan_now::PlanNow;
#[cfg(feature = "tensorboard")]
pub use tensor_board::TensorBoard;

/// Receives the metrics of a run, such as the hook's `layer_freezing/layers_frozen` and
/// `layer_freezing/percentage_frozen`, which have the reference's names.
///
/// Implemented for every `FnMut(&str, f64, Elapsed)` that is `Send`, borrowing closures included,
/// and for `()`, which ignores everything. Pass a borrowed sink as
/// `&mut sink as &mut dyn MetricSink`.
///
/// ```
/// use freeze_core::checkpoint::MetricHistory;
/// use freeze_core::{Elapsed, Error, LayerFreezing, MetricSink, Result};
///
/// struct Finite<'a>(&'a mut MetricHistory);
///
/// impl MetricSink for Finite<'_> {
///     fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
///         if !value.is_finite() {
///             return Err(Error::Number { name: "metric", value, expected: "a finite number" });
///         }
///         self.0.record(name, value, elapsed);
///         Ok(())
///     }
/// }
///
/// let mut history = MetricHistory::default();
/// let hook = LayerFreezing::new(0.5, 1.0)?.with_sink(Finite(&mut history));
/// # Ok::<(), Error>(())
/// ```
pub trait MetricSink: Send {
    /// Records one value of one metric.
    ///
    /// # Errors
    ///
    /// It could not be recorded. A [`Training`](crate::Training) tells of it once, in
    /// [`EpochReport::unrecorded`](crate::train::EpochReport::unrecorded), and goes on without this sink; a
    /// [`LayerFreezing`](crate::LayerFreezing) alone returns the error, and what it has frozen stays so.
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()>;

    /// Records why a leaf froze, thawed or trains at another rate; ignored by default. Of a leaf that was set by hand, by
    /// [`Training::apply`](crate::Training::apply) for instance, it comes with the plan, before the next step.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> Result<()> {
        let _ = (reason, elapsed);
        Ok(())
    }

    /// Records which leaves train from `elapsed` on; ignored by default. Called before the first step of every epoch
    /// and after each change, and sometimes again without one.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    fn plan(&mut self, now: &PlanNow<'_>, elapsed: Elapsed) -> Result<()> {
        let _ = (now, elapsed);
        Ok(())
    }

    /// Records how the time of an epoch was spent; ignored by default. Called at its end, before
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    fn spent(&mut self, spent: &Spent, elapsed: Elapsed) -> Result<()> {
        let _ = (spent, elapsed);
        Ok(())
    }

    /// Called at the end of every epoch, once its values are recorded, and before a checkpoint is saved at any other
    /// time: a run that goes on from there does not record again what came before.
    ///
    /// # Errors
    ///
    /// The recorded values could not be written.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called when the run goes on from `at`: what was recorded after it will be recorded again.
    ///
    /// # Errors
    ///
    /// What was recorded could not be read or dropped.
    fn resume(&mut self, at: Elapsed) -> Result<()> {
        let _ = at;
        Ok(())
    }

    /// Called when the run has ended and no more values will come.
    ///
    /// # Errors
    ///
    /// The recorded values could not be written.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&str, f64, Elapsed) + Send> MetricSink for F {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        self(name, value, elapsed);
        Ok(())
    }
}

impl MetricSink for () {
    fn record(&mut self, _: &str, _: f64, _: Elapsed) -> Result<()> {
        Ok(())
    }
}

impl MetricSink for MetricHistory {
    fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
        MetricHistory::record(self, name, value, elapsed);
        Ok(())
    }
}

// Not for every `&mut T`: a borrowed closure is itself a closure and would have two
// implementations.
macro_rules! handed_on {
    ($($sink:ty),*) => {$(
        impl MetricSink for $sink {
            fn record(&mut self, name: &str, value: f64, elapsed: Elapsed) -> Result<()> {
                MetricSink::record(&mut **self, name, value, elapsed)
            }

            fn reason(&mut self, reason: &Reason, elapsed: Elapsed) -> Result<()> {
                MetricSink::reason(&mut **self, reason, elapsed)
            }

            fn plan(&mut self, now: &PlanNow<'_>, elapsed: Elapsed) -> Result<()> {
                MetricSink::plan(&mut **self, now, elapsed)
            }

            fn spent(&mut self, spent: &Spent, elapsed: Elapsed) -> Result<()> {
                MetricSink::spent(&mut **self, spent, elapsed)
            }

            fn flush(&mut self) -> Result<()> {
                MetricSink::flush(&mut **self)
            }

            fn resume(&mut self, at: Elapsed) -> Result<()> {
                MetricSink::resume(&mut **self, at)
            }

            fn finish(&mut self) -> Result<()> {
                MetricSink::finish(&mut **self)
            }
        }
    )*};
}

handed_on!(
    &mut (dyn MetricSink + '_),
    Box<dyn MetricSink + '_>,
    &mut JsonLines,
    &mut Csv,
    &mut MetricHistory
);
