//! What a policy wants to look at in a step.

use std::ops::BitOr;

use crate::plan::Measures;

/// A set of quantities that a policy wants to observe in a step. What no policy needs is not
/// computed.
///
/// ```
/// use freeze_core::policy::Needs;
///
/// let needs = Needs::GRADIENT | Needs::WEIGHT;
/// assert!(needs.contains(Needs::GRADIENT) && !needs.contains(Needs::UPDATE));
/// assert!(Needs::NONE.is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u16);

impl Needs {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The norms of the gradient that the update uses.
    pub const GRADIENT: Self = Self(1);
    /// The norms of the update: the weight after the step minus the weight before.
    pub const UPDATE: Self = Self(1 << 1);
    /// The norms of the weight after the step.
    pub const WEIGHT: Self = Self(1 << 2);
    /// The mean of |update / weight before| over the elements.
    pub const RELATIVE_UPDATE: Self = Self(1 << 3);
    /// The norms of the weight's change since the last step in which they were needed; absent in the
    /// first. Takes a copy of the weight.
    pub const WEIGHT_CHANGE: Self = Self(1 << 4);
    /// The norms of the gradient's change since the last step in which they were needed; absent in
    /// the first. Takes a copy of the gradient.
    pub const GRADIENT_CHANGE: Self = Self(1 << 5);
    /// Adds the gradient to a sum, which takes as much memory.
    pub const SUM_GRADIENTS: Self = Self(1 << 6);
    /// The norms of that sum after this step, also of a variable that this step has no gradient of; the sum then
    /// starts again.
    pub const GRADIENT_SUM: Self = Self(1 << 7);
    /// The mean of g^2 / (Var(g) + 1e-8), with the unbiased variance over dimension 0 of the
    /// gradient (Auto-SNR of surgical fine-tuning).
    pub const SIGNAL_TO_NOISE: Self = Self(1 << 8);
    /// The first-order drop of the loss, -sum(g * dw), with the gradient of this step and the
    /// weight's change since the step before; absent where it was not needed in that one. Takes a copy of the
    /// weight, which goes with the first step that does not need it.
    pub const LOSS_DROP: Self = Self(1 << 9);
    /// The weights themselves. Also at the start of a run.
    pub const TENSORS: Self = Self(1 << 10);
    /// The outputs of stages on a fixed probe batch, computed with everything frozen. Also at the
    /// start of a run.
    pub const OUTPUTS: Self = Self(1 << 11);
    /// The measured costs of the model's operations. Also at the start of a run.
    pub const COSTS: Self = Self(1 << 12);

    /// What can be observed without a step.
    pub(crate) const AT_START: Self = Self(Self::TENSORS.0 | Self::OUTPUTS.0 | Self::COSTS.0);

    /// What can be observed of a step that updates within its backward.
    pub(crate) const IN_BACKWARD: Self = Self(
        Self::GRADIENT.0
            | Self::UPDATE.0
            | Self::WEIGHT.0
            | Self::RELATIVE_UPDATE.0
            | Self::WEIGHT_CHANGE.0
            | Self::AT_START.0,
    );

    /// Whether nothing is needed.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is needed.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in both sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether something of a step's gradients is kept for later steps.
    pub(crate) fn keeps_gradients(self) -> bool {
        !self.and(Self::SUM_GRADIENTS | Self::GRADIENT_CHANGE | Self::LOSS_DROP).is_empty()
    }

    /// What an optimizer can measure within its update.
    pub(crate) fn measures(self) -> Measures {
        Measures {
            gradient: self.contains(Self::GRADIENT),
            update: self.contains(Self::UPDATE),
            weight: self.contains(Self::WEIGHT),
            relative_update: self.contains(Self::RELATIVE_UPDATE),
        }
    }
}

impl BitOr for Needs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
