//! How an optimizer is to clip gradients.

/// How a step clips gradients before it uses them; the gradient store itself is not changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum GradClip {
    /// No clipping.
    #[default]
    None,
    /// All gradients are scaled by one factor, so that the norm of all of them together is at most
    /// this (Pascanu, Mikolov and Bengio 2013, <https://arxiv.org/abs/1211.5063>).
    Norm(f64),
    /// Each element is clamped to plus and minus this.
    Value(f64),
}
