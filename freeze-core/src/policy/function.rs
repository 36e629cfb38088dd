//! A schedule made from a function.

use std::fmt;

use crate::error::Result;
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Policy};

/// A schedule made from a function of progress and base plan to a plan; see [`from_fn`].
pub struct FromFn<F> {
    name: String,
    plan: F,
}

/// Makes a schedule from a function. Its arguments are the progress and the base plan, with what
/// the user froze or scaled by hand; it returns a refined copy of that plan. State that it keeps
/// between calls is neither saved nor restored when a plan is refused.
///
/// `name` identifies it in messages and checkpoints, so it should include the settings. Depth and
/// percentage are reported as in [`Decision::depth`] and [`Decision::percentage`].
///
/// ```
/// use freeze_core::{Elapsed, FreezePlan, LayerFreezing, policy::from_fn};
///
/// let half = from_fn("half of the leaves from epoch 3 on", |elapsed, base| {
///     let mut plan = base.clone();
///     if elapsed.epoch >= 3 {
///         plan.freeze_front(plan.len() / 2)?;
///     }
///     Ok(plan)
/// });
/// let freezing = LayerFreezing::with_policy(half);
/// ```
pub fn from_fn<F>(name: impl Into<String>, plan: F) -> FromFn<F>
where
    F: FnMut(Elapsed, &FreezePlan) -> Result<FreezePlan>,
{
    FromFn { name: name.into(), plan }
}

impl<F> Policy for FromFn<F>
where
    F: FnMut(Elapsed, &FreezePlan) -> Result<FreezePlan>,
{
    fn decide(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new((self.plan)(elapsed, base)?))
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FromFn").field(&self.name).finish()
    }
}
