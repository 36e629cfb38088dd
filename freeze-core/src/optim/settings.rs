//! Settings of the optimizers: what happens to steps whose gradients are not finite, and to parameters
//! in half precision.

/// What a step does when a gradient of a trained parameter is infinite or NaN. Parameters and
/// moments are not changed in either case: every gradient is checked before anything is updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The step fails with [`Error::NonFinite`](crate::Error::NonFinite).
    #[default]
    Error,
    /// The step is skipped and counted: see [`Fused::skipped_steps`](super::Fused::skipped_steps).
    SkipStep,
}

/// Whether a parameter of `f16` or `bf16` has a copy in `f32` that updates are added to. The
/// neighbours of 1 in `bf16` are 0.4 % away, so most updates would otherwise be rounded away
/// (Micikevicius et al. 2018, <https://arxiv.org/abs/1710.03740>).
///
/// The stored parameter is always its master weight, rounded. If other code writes to the
/// parameter, the new value is used from then on. Master weights are part of the state: 4 bytes per
/// parameter, saved as `master/NAME`, freed with the moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MasterWeights {
    /// Kept for parameters in half precision, allocated by their first update.
    #[default]
    F32,
    /// Not kept: each update is rounded to the parameter's type.
    None,
}
