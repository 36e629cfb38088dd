//! Schedules: from how far training is to the plan that freezes layers, with reasons and metrics.

mod decision;
mod elapsed;
mod follow;
mod function;
mod linear;
mod pointer;
mod progress;
mod reason;

use crate::error::Result;
use crate::plan::FreezePlan;

pub use decision::Decision;
pub use elapsed::Elapsed;
pub use function::{FromFn, from_fn};
pub use linear::Linear;
pub(crate) use progress::Progress;
pub use reason::Reason;

/// From progress to a plan. A schedule touches no model. [`from_fn`] makes one of a function, and a
/// `Box` of one, `dyn` or not, is one.
///
/// ```
/// use freeze_core::{Decision, Elapsed, FreezePlan, LayerFreezing, Result, Schedule};
///
/// /// Trains the embedding at a falling share of the learning rate, and then not at all.
/// struct Cool;
///
/// impl Schedule for Cool {
///     fn plan(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision> {
///         let (mut plan, left) = (base.clone(), 1.0 - 2.0 * elapsed.fraction()?);
///         if left > 0.0 {
///             plan.train("embed", left)?;
///             return Ok(Decision::new(plan).metric("cool/share", left));
///         }
///         plan.freeze("embed")?;
///         Ok(Decision::new(plan).because("embed", "froze: half of the run is over"))
///     }
///
///     fn describe(&self) -> String {
///         "cool".into()
///     }
/// }
///
/// let freezing = LayerFreezing::with_schedule(Cool);
/// ```
///
/// One that remembers something implements [`state`](Self::state) and
/// [`load_state`](Self::load_state): a plan that is refused must not have been counted, so the
/// schedule is put back to the state before, and a resumed run goes on from the one that was saved.
pub trait Schedule {
    /// The plan at `elapsed`. `base` is what the user froze or scaled by hand: a schedule refines
    /// it, so that what is frozen there stays frozen and what is scaled there stays scaled. What is
    /// declared `always` trains whatever the plan says.
    ///
    /// # Errors
    ///
    /// The progress makes no sense, such as an epoch beyond the last.
    fn plan(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision>;

    /// The schedule's name and settings, for messages and checkpoints.
    fn describe(&self) -> String;

    /// What the schedule remembers, so that a resumed run goes on exactly; nothing by default.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes up what [`state`](Self::state) returned.
    ///
    /// # Errors
    ///
    /// The state is not this schedule's; nothing has changed then.
    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        if state.is_null() {
            return Ok(());
        }
        Err(crate::error::Error::ScheduleState {
            schedule: self.describe(),
            why: "it keeps no state".into(),
        })
    }
}
