//! The training attributes that a model declares for its leaves.

use std::fmt;

use super::LeafState;

/// The attributes `#[freeze(frozen)]`, `always`, `lr = ..` and `no_decay`: those of one place, or
/// all that apply to one leaf.
///
/// The attribute nearest to a leaf wins: one on its field before one on the type around it.
/// Learning rates multiply from the outside in, and `no_decay` further out holds for all leaves
/// inside.
///
/// ```
/// use candle_nn::Linear;
/// use freeze_core::{Declared, Freezable};
///
/// #[derive(Freezable)]
/// #[freeze(lr = 0.5)]
/// struct Block {
///     #[freeze(frozen)]
///     stem: Linear,
///     #[freeze(lr = 0.1, no_decay)]
///     body: Linear,
/// }
///
/// #[derive(Freezable)]
/// struct Net {
///     block: Block,
///     #[freeze(always)]
///     head: Linear,
/// }
///
/// const BODY: Declared = Net::LEAVES.declared("block.body");
/// assert_eq!(BODY, Declared::NOTHING.lr(0.5 * 0.1).no_decay());
/// const { assert!(Net::LEAVES.declared("block.stem").is_frozen()) };
/// const { assert!(Net::LEAVES.declared("head").is_always()) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Declared {
    training: Training,
    lr: f64,
    decay: Decay,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Training {
    Unsaid,
    Frozen,
    Trained,
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Decay {
    Unsaid,
    Spared,
}

impl Declared {
    /// No attribute: trained at the full rate until a schedule freezes it.
    pub const NOTHING: Self = Self { training: Training::Unsaid, lr: 1.0, decay: Decay::Unsaid };

    /// Adds `frozen`: frozen from the start.
    pub const fn frozen(self) -> Self {
        Self { training: Training::Frozen, ..self }
    }

    /// Adds `always`: no schedule freezes it.
    pub const fn always(self) -> Self {
        Self { training: Training::Always, ..self }
    }

    /// Adds `lr`: trained at `share` times the rate of the surrounding type.
    ///
    /// # Panics
    ///
    /// In const context a panic is a compile error: `share` is negative or not finite.
    #[track_caller]
    pub const fn lr(self, share: f64) -> Self {
        if !(share.is_finite() && share >= 0.0) {
            panic!("`lr` must be a finite number of at least 0");
        }
        let training = match self.training {
            Training::Always => Training::Always,
            _ => Training::Trained,
        };
        Self { training, lr: self.lr * share, ..self }
    }

    /// Adds `no_decay`: no weight decay.
    pub const fn no_decay(self) -> Self {
        Self { decay: Decay::Spared, ..self }
    }

    /// The attributes of a field declared `inner` inside a type declared `self`.
    pub const fn around(self, inner: Self) -> Self {
        let training = match (self.training, inner.training) {
            (outer, Training::Unsaid) => outer,
            // An `lr` inside overrides only `frozen`.
            (Training::Always, Training::Trained) => Training::Always,
            (_, inner) => inner,
        };
        let decay = match (self.decay, inner.decay) {
            (Decay::Unsaid, Decay::Unsaid) => Decay::Unsaid,
            _ => Decay::Spared,
        };
        Self { training, lr: self.lr * inner.lr, decay }
    }

    /// Whether it is frozen from the start.
    pub const fn is_frozen(&self) -> bool {
        matches!(self.training, Training::Frozen)
    }

    /// Whether it always trains: no schedule freezes it.
    pub const fn is_always(&self) -> bool {
        matches!(self.training, Training::Always)
    }

    /// Whether it has no weight decay, unless an optimizer's group says otherwise.
    pub const fn is_spared_decay(&self) -> bool {
        matches!(self.decay, Decay::Spared)
    }

    /// The share of the learning rate while it trains.
    pub const fn lr_scale(&self) -> f64 {
        self.lr
    }

    /// The state in the plan that the model starts with.
    pub const fn state(&self) -> LeafState {
        match self.is_frozen() {
            true => LeafState::Frozen,
            false => LeafState::Trained { lr_scale: self.lr },
        }
    }

    /// Whether an attribute applies to whole leaves: any but `no_decay`.
    pub(crate) const fn is_of_leaves(&self) -> bool {
        !matches!(self.training, Training::Unsaid)
    }
}

/// The attributes joined by commas; empty if there are none.
impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self.training {
            Training::Frozen => words.push("frozen".to_string()),
            Training::Always => words.push("always".to_string()),
            Training::Unsaid | Training::Trained => {}
        }
        if self.lr != 1.0 {
            words.push(format!("lr x {}", self.lr));
        }
        if self.is_spared_decay() {
            words.push("no decay".to_string());
        }
        f.write_str(&words.join(", "))
    }
}
