//! Clipping, as an optimizer is asked for it.

/// What a step does to the gradients before it uses them; the gradient store stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum GradClip {
    /// Nothing.
    #[default]
    None,
    /// All gradients are scaled by one factor, so that the norm of all of them together is at most
    /// this (Pascanu, Mikolov and Bengio 2013, <https://arxiv.org/abs/1211.5063>).
    Norm(f64),
    /// Each element is cut off at plus and minus this.
    Value(f64),
}
