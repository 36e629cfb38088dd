//! Schedules: map the progress of a run to a plan, with reasons and metrics.

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

/// Maps progress to a plan. A schedule does not access the model. [`from_fn`] makes one from a
/// function, and a `Box` of a schedule, `dyn` or not, is a schedule.
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
/// A schedule with state of its own implements [`state`](Self::state) and
/// [`load_state`](Self::load_state). They restore the schedule when its plan is refused, and when a
/// run is resumed.
pub trait Schedule {
    /// The plan at `elapsed`. `base` is the plan with what the user froze or scaled by hand. A
    /// schedule refines it, so that leaves frozen there stay frozen and scaled ones stay scaled.
    /// Leaves declared `always` train whatever the plan says.
    ///
    /// # Errors
    ///
    /// The progress is invalid, such as an epoch beyond the last.
    fn plan(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision>;

    /// The schedule's name and settings, for messages and checkpoints.
    fn describe(&self) -> String;

    /// The schedule's state, so that a resumed run continues exactly; none by default.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Loads what [`state`](Self::state) returned.
    ///
    /// # Errors
    ///
    /// The state does not belong to this schedule; nothing has changed then.
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
