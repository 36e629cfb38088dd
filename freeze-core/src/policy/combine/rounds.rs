//! When a policy's answer is a new one.

use serde::{Deserialize, Serialize};

use crate::policy::{Elapsed, Moment, Policy};

/// The last point at which a policy was asked. A round is a point at which it was due: asked twice there,
/// or in between, it answers as in the last round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Rounds(Option<Elapsed>);

impl Rounds {
    /// Whether a round of `policy` begins at `at`, which is then the last point.
    ///
    /// An epoch has ended if more epochs are completed than at the last point, since a policy that is
    /// due at the ends of epochs is asked at each.
    pub(super) fn begins(&mut self, policy: &dyn Policy, at: Elapsed) -> bool {
        let last = self.0.replace(at);
        let moment = match last {
            Some(last) if last == at => return false,
            Some(last) if at.epoch > last.epoch => Moment::Epoch,
            None if at.epoch > 0 => Moment::Epoch,
            _ if at.epoch == 0 && at.step == 0 => Moment::Start,
            _ => Moment::Step,
        };
        policy.is_due(at, moment)
    }
}
