//! What a policy would refuse when a later part of the run begins.

use serde_json::Value;

use super::span::Span;
use crate::error::{Error, Result};
use crate::plan::FreezePlan;
use crate::policy::{Elapsed, Policy};

/// A run whose parts to come are tried, at one of its points.
pub(super) struct Trial<'a> {
    /// The policy that divides the run.
    pub(super) name: &'static str,
    /// Where each part but the last ends, as a share of the run.
    pub(super) ends: &'a [f64],
    pub(super) at: Elapsed,
    pub(super) base: &'a FreezePlan,
}

impl Trial<'_> {
    /// Asks a policy for its first decision in the part number `part`, which it begins in the state `fresh`;
    /// its own state stays as it is.
    ///
    /// # Errors
    ///
    /// The policy refuses; the message names the part.
    pub(super) fn ask(&self, part: usize, policy: &mut dyn Policy, fresh: &Value) -> Result<()> {
        let Some(own) = Span::beginning(self.ends, part, self.at)? else { return Ok(()) };
        let before = policy.state();
        policy.load_state(fresh)?;
        let decided = policy.decide(own, self.base);
        let restored = policy.load_state(&before);
        decided.and(restored).map_err(|error| {
            let from = part.checked_sub(1).and_then(|before| self.ends.get(before));
            let from = from.copied().unwrap_or_default();
            Error::policy(self.name, format!("part {part}, from {from} of the run on: {error}"))
        })
    }
}
