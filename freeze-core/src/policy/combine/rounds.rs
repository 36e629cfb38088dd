//! When a policy's answer is a new one.

use serde::{Deserialize, Serialize};

use crate::policy::{Elapsed, Moment, Policy};

/// The last point at which a policy was asked. A round is a point at which it was due before it decided:
/// asked twice there, or in between, it answers as in the last round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Rounds(Option<Elapsed>);

impl Rounds {
    /// Whether a round of `policy` begins at `at`, where it has not decided yet: one that is due when there
    /// is something new has nothing new once it has.
    ///
    /// An epoch has ended if more epochs are completed than at the last point, since a policy that is
    /// due at the ends of epochs is asked at each.
    pub(super) fn begins(self, policy: &dyn Policy, at: Elapsed) -> bool {
        let moment = match self.0 {
            Some(last) if last == at => return false,
            Some(last) if at.epoch > last.epoch => Moment::Epoch,
            None if at.epoch > 0 => Moment::Epoch,
            _ if at.epoch == 0 && at.step == 0 => Moment::Start,
            _ => Moment::Step,
        };
        policy.is_due(at, moment)
    }

    /// Notes that the policy was asked at `at`.
    pub(super) fn note(&mut self, at: Elapsed) {
        self.0 = Some(at);
    }
}
