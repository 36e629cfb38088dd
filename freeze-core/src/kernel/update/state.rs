//! The state that an update keeps from step to step for one parameter.

use candle_core::Tensor;

/// The rows of a state, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The number of moments.
    pub(crate) moments: usize,
    /// Whether a last row holds the master weights: the parameter in the type of its arithmetic. An
    /// element of it is used as long as it rounds to the stored value; otherwise other code has
    /// written to the parameter, and the stored value is used.
    pub(crate) master: bool,
}

impl Rows {
    pub(crate) fn count(self) -> usize {
        self.moments + usize::from(self.master)
    }

    /// The names of the rows, given those of the moments.
    pub(crate) fn names(self, moments: &[&'static str]) -> Vec<&'static str> {
        let master = self.master.then_some("master");
        moments.iter().copied().take(self.moments).chain(master).collect()
    }
}

/// Moments and master weights as one tensor of `(rows, elements)`, in the type the arithmetic runs
/// in.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) tensor: Tensor,
    pub(crate) rows: Rows,
}
