//! What parameter groups set for one parameter.

/// The values that the groups set for one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) lr_scale: f64,
    /// `None`: the optimizer's own.
    pub(super) weight_decay: Option<f64>,
}

impl Default for Share {
    fn default() -> Self {
        Self { lr_scale: 1.0, weight_decay: None }
    }
}
