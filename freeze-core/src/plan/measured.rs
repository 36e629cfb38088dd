//! What an optimizer measures of its own updates.

/// What to measure of each variable within an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// The norms of the gradient that the update uses, after clipping.
    pub gradient: bool,
    /// The norms of the update: the stored weight after the step minus the one before.
    pub update: bool,
    /// The norms of the stored weight after the step.
    pub weight: bool,
    /// The mean of |update / weight before| over the elements. An element that was 0 counts as 0;
    /// the code of SlimFit (arXiv:2305.18513) gets infinity or NaN for it.
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

/// The norms of all elements of a tensor: the sum of their absolute values, and the root of the sum
/// of their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norms {
    /// The sum of the absolute values.
    pub l1: f64,
    /// The root of the sum of the squares.
    pub l2: f64,
}

/// What was measured of one variable in its last update; see [`Measures`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// The norms of the gradient.
    pub gradient: Option<Norms>,
    /// The norms of the update.
    pub update: Option<Norms>,
    /// The norms of the weight.
    pub weight: Option<Norms>,
    /// The mean of |update / weight before|.
    pub relative_update: Option<f64>,
}
