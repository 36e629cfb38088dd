//! The functional form of the hook.

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::PlanOptimizer;
use crate::policy::{Floor, Linear};

/// The functional form of the reference: applies the linear schedule at `current_duration`, the
/// completed share of the run in [0, 1], and returns how many leaves are frozen and the schedule's share of them, in
/// [0, 1] (the reference's "percentage"). As under
/// [`Freezer::follow`], leaves that the base plan freezes stay frozen, and the last leaf that it
/// trains goes on training if nothing else does.
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
    let mut decision = schedule.refined(current_duration, freezer.base())?;
    freezer.keep_rules(&mut decision, Floor::LastLeaf)?;
    freezer.refine(&decision.plan, optimizers)?;
    Ok((decision.depth(), decision.percentage()))
}
