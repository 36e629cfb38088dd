//! Settings of the optimizers: what becomes of the state of frozen parameters, of steps whose gradients are
//! not finite, of parameters in half precision.

/// What becomes of a parameter's optimizer state when the parameter is frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatePolicy {
    /// Given back to the allocator; after thawing the parameter starts afresh, its bias correction
    /// included.
    #[default]
    Drop,
    /// Kept where it is; after thawing training goes on where it stopped.
    Keep,
    /// Moved to host memory, and back with the first update after thawing. The same as `Keep` for
    /// parameters on the CPU.
    Offload,
}

/// What a step does when a gradient of a trained parameter is infinite or NaN. Parameters and
/// moments stay untouched either way: every gradient is looked at before anything is updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The step fails with [`Error::NonFinite`](crate::Error::NonFinite).
    #[default]
    Error,
    /// The step does nothing but count: see [`Fused::skipped_steps`](super::Fused::skipped_steps).
    SkipStep,
}

/// Whether a parameter of `f16` or `bf16` has a second, in `f32`, that its updates add up in: the
/// neighbours of 1 in `bf16` are 0.4 % away, so that most updates would be rounded to nothing
/// (Micikevicius et al. 2018, <https://arxiv.org/abs/1710.03740>).
///
/// The stored parameter is always its master weight, rounded. Where somebody else writes to it, what
/// is stored counts from then on. Master weights are part of the state: 4 bytes a parameter, saved
/// as `master/NAME`, given back with the moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MasterWeights {
    /// Kept for parameters in half precision, made by their first update.
    #[default]
    F32,
    /// Not kept: each update is rounded to the parameter's type.
    None,
}
