//! What an optimizer measures while it updates.

use std::ops::BitOr;

/// What to measure of each variable within an update; see
/// [`PlanOptimizer::measure_within_step`](super::PlanOptimizer::measure_within_step). Two wishes
/// together are `a | b`.
///
/// ```
/// use freeze_core::Measures;
///
/// let update = Measures { update: true, ..Measures::NONE };
/// let wanted = update | Measures { weight: true, ..Measures::NONE };
/// assert!(wanted.update && wanted.weight && !wanted.gradient && !wanted.is_empty());
/// assert_eq!(wanted | Measures::NONE, wanted);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// The norms of the gradient.
    pub gradient: bool,
    /// The norms of the update.
    pub update: bool,
    /// The norms of the variable.
    pub weight: bool,
    /// The mean of the update's share of the variable, element by element.
    pub relative_update: bool,
}

impl Measures {
    /// Nothing.
    pub const NONE: Self =
        Self { gradient: false, update: false, weight: false, relative_update: false };

    /// Whether nothing is to be measured.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

impl BitOr for Measures {
    type Output = Self;

    /// What either of the two asks for.
    fn bitor(self, other: Self) -> Self {
        Self {
            gradient: self.gradient || other.gradient,
            update: self.update || other.update,
            weight: self.weight || other.weight,
            relative_update: self.relative_update || other.relative_update,
        }
    }
}

/// Two norms of the elements of a tensor. A NaN or an infinity among the elements shows in both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norms {
    /// The sum of absolute values.
    pub l1: f64,
    /// The root of the sum of squares. The sum is an `f64`: elements beyond 1e154, which only `f64`
    /// has, make it infinite, and those below 1e-162 count as 0.
    pub l2: f64,
}

/// What was measured of one variable within its last update. What was not asked for is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Of the gradient that the update used: after clipping, before weight decay and moments.
    pub gradient: Option<Norms>,
    /// Of the variable after the update minus before it, both as they are stored: in half precision
    /// it is 0 where the step was too small to show, also if master weights keep it.
    pub update: Option<Norms>,
    /// Of the variable after the update, as it is stored.
    pub weight: Option<Norms>,
    /// `mean(|(after - before) / before|)` over all elements, both as they are stored. An element
    /// that was exactly 0 before counts as 0, and so does a variable without elements. (The code of
    /// SlimFit, Ardakani et al. 2023, arXiv:2305.18513, divides by zero there.)
    pub relative_update: Option<f64>,
}
