//! How far training is, and what that makes of a plan.

mod elapsed;
mod follow;
mod function;
mod linear;
mod pointer;
mod progress;

use crate::error::Result;
use crate::plan::FreezePlan;

pub use elapsed::Elapsed;
pub use function::{FromFn, from_fn};
pub use linear::Linear;
pub(crate) use progress::Progress;

/// What a schedule asks for at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// The plan to apply: the base plan, refined.
    pub plan: FreezePlan,
    /// How many leaves, counted from the front, the schedule freezes.
    pub depth: usize,
    /// How far the schedule has come, in [0, 1].
    pub percentage: f64,
}

/// From progress to a plan. A schedule touches no model. [`from_fn`] makes one of a function, and a
/// `Box` of one, `dyn` or not, is one.
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
    fn plan(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Scheduled>;

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
