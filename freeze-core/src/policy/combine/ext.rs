//! Policies made of others, as methods.

use std::ops::Bound;

use super::bounds::{AtLeast, AtMost};
use super::every::Every;
use super::monotone::Monotone;
use super::only::Only;
use super::pair::{Freezes, Pair};
use super::per_round::PerRound;
use super::ruled::Ruled;
use super::stop::EndsWhenFrozen;
use super::then::Then;
use super::unfreeze_on::UnfreezeOn;
use crate::error::{Result, check_number, check_unit};
use crate::policy::Policy;

/// What can be made of any policy. The same from data: [`from_json`](crate::policy::from_json).
///
/// ```
/// use freeze_core::policy::{Linear, Policy, PolicyExt, all_trained};
///
/// // At most three quarters of the leaves, and for the last fifth of the run all of them again.
/// let policy = Linear::new(0.2, 1.0)?.with_ceiling(0.75)?.then(0.8, all_trained(0.1)?)?;
/// assert_eq!(
///     policy.describe(),
///     "then(with-ceiling(share=0.75, of=linear(start=0.2, level=1)) until 0.8, all-trained(scale=0.1))"
/// );
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// A rule is kept within the policy's decision. What the user froze or declared is kept above it, as with
/// every policy.
pub trait PolicyExt: Policy + Sized {
    /// This policy until the share `until` of the run, then `next`; each sees its part as a run of its
    /// own. More can follow: [`Then::then`].
    ///
    /// # Errors
    ///
    /// `until` is not more than 0 and less than 1.
    fn then(self, until: f64, next: impl Policy + Send + 'static) -> Result<Then>
    where
        Self: Send + 'static,
    {
        Then::new(vec![Box::new(self), Box::new(next)], vec![until])
    }

    /// At least this share of the leaves is frozen, more from the front if need be; see [`AtLeast`].
    ///
    /// # Errors
    ///
    /// `share` is not in [0, 1].
    fn with_floor(self, share: f64) -> Result<Ruled<Self, AtLeast>> {
        check_unit("share", share)?;
        Ok(Ruled::new(self, AtLeast(share)))
    }

    /// At most this share of the leaves is frozen, fewer from the back if need be; see [`AtMost`].
    ///
    /// # Errors
    ///
    /// `share` is not in [0, 1].
    fn with_ceiling(self, share: f64) -> Result<Ruled<Self, AtMost>> {
        check_unit("share", share)?;
        Ok(Ruled::new(self, AtMost(share)))
    }

    /// In each round at most this share of the leaves that are left freezes; see [`PerRound`].
    ///
    /// # Errors
    ///
    /// `share` is not more than 0 and at most 1.
    fn at_most_per_round(self, share: f64) -> Result<Ruled<Self, PerRound>> {
        let range = (Bound::Excluded(0.0), Bound::Included(1.0));
        check_number("share", share, range, "a number of more than 0 and at most 1")?;
        Ok(Ruled::new(self, PerRound::new(share)))
    }

    /// Only the leaves that `pattern` matches follow this policy, the others train as in the base plan.
    /// A pattern that matches no leaf of the model is an error of the decision.
    ///
    /// # Errors
    ///
    /// The pattern cannot be read.
    fn only(self, pattern: impl Into<String>) -> Result<Ruled<Self, Only>> {
        Ok(Ruled::new(self, Only::new(pattern.into())?))
    }

    /// Each leaf follows the one of two policies that trains it more: the shorter of two frozen
    /// prefixes. The run ends if both end it.
    fn min<O: Policy>(self, other: O) -> Pair<Self, O> {
        Pair::new(self, other, Freezes::Less)
    }

    /// Each leaf follows the one of two policies that trains it less: the longer of two frozen
    /// prefixes. The run ends if either ends it.
    fn max<O: Policy>(self, other: O) -> Pair<Self, O> {
        Pair::new(self, other, Freezes::More)
    }

    /// What froze stays frozen.
    fn monotone(self) -> Ruled<Self, Monotone> {
        Ruled::new(self, Monotone::default())
    }

    /// This policy decides after every `steps` optimizer steps, whatever its own rhythm.
    ///
    /// # Errors
    ///
    /// `steps` is 0.
    fn every(self, steps: usize) -> Result<Every<Self>> {
        Every::new(self, steps)
    }

    /// This policy starts again, with everything thawed, at these shares of the run: those at which
    /// the learning rate drops.
    ///
    /// # Errors
    ///
    /// The shares do not increase, or one is not more than 0 and less than 1.
    fn unfreeze_on(self, at: impl Into<Vec<f64>>) -> Result<UnfreezeOn<Self>> {
        UnfreezeOn::new(self, at.into())
    }

    /// The run ends when this policy has frozen all that it may.
    fn early_stop_when_all_frozen(self) -> Ruled<Self, EndsWhenFrozen> {
        Ruled::new(self, EndsWhenFrozen)
    }
}

impl<P: Policy> PolicyExt for P {}
