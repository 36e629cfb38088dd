//! The update of one parameter by its gradient, in one pass over memory.
//!
//! A kernel reads each of parameter, gradient and moments once. On the CPU it is a loop over
//! slices, on CUDA a launch for all parameters together, on any other device a few candle operations.

mod add_scaled;
#[cfg(any(feature = "cuda", test))]
mod arguments;
mod by_tensors;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod grad_map;
mod lanes;
mod meter;
mod op;
mod pass;
mod rule;
mod state;
mod tally;

pub(crate) use add_scaled::add_scaled;
#[cfg(any(feature = "cuda", test))]
pub(crate) use arguments::{AdamArguments, Arguments, SgdArguments};
#[cfg(test)]
pub(crate) use by_tensors::update as update_by_tensors;
pub(crate) use grad_map::GradMap;
pub(crate) use op::update;
pub(crate) use rule::ElementRule;
pub(crate) use state::{Rows, State};
pub(crate) use tally::{Sums, Tally};
