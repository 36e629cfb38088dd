//! What a model's declaration says about how it trains.

use std::fmt;

use super::LeafState;

/// What `#[freeze(frozen)]`, `always`, `lr = ..` and `no_decay` say: one place's own words, or all
/// that is said about one leaf.
///
/// Of a leaf, the words nearest to it count, those on its field before those on the type around it;
/// rates multiply on the way in, and what is spared weight decay further out stays spared.
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
    /// Nothing is said: trained at the full rate until a schedule freezes it.
    pub const NOTHING: Self = Self { training: Training::Unsaid, lr: 1.0, decay: Decay::Unsaid };

    /// And frozen from the start.
    pub const fn frozen(self) -> Self {
        Self { training: Training::Frozen, ..self }
    }

    /// And trained always: no schedule freezes it.
    pub const fn always(self) -> Self {
        Self { training: Training::Always, ..self }
    }

    /// And trained at `share` times the rate around it.
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

    /// And without weight decay.
    pub const fn no_decay(self) -> Self {
        Self { decay: Decay::Spared, ..self }
    }

    /// All that is said where `inner` is said within `self`.
    pub const fn around(self, inner: Self) -> Self {
        let training = match (self.training, inner.training) {
            (outer, Training::Unsaid) => outer,
            // A rate takes nothing back but `frozen`.
            (Training::Always, Training::Trained) => Training::Always,
            (_, inner) => inner,
        };
        let decay = match (self.decay, inner.decay) {
            (Decay::Unsaid, Decay::Unsaid) => Decay::Unsaid,
            _ => Decay::Spared,
        };
        Self { training, lr: self.lr * inner.lr, decay }
    }

    /// Frozen from the start.
    pub const fn is_frozen(&self) -> bool {
        matches!(self.training, Training::Frozen)
    }

    /// Trained always: no schedule freezes it.
    pub const fn is_always(&self) -> bool {
        matches!(self.training, Training::Always)
    }

    /// Without weight decay, unless an optimizer's group says otherwise.
    pub const fn is_spared_decay(&self) -> bool {
        matches!(self.decay, Decay::Spared)
    }

    /// The share of the learning rate, once it trains.
    pub const fn lr_scale(&self) -> f64 {
        self.lr
    }

    /// The state that a plan begins with.
    pub const fn state(&self) -> LeafState {
        match self.is_frozen() {
            true => LeafState::Frozen,
            false => LeafState::Trained { lr_scale: self.lr },
        }
    }

    /// Whether anything is said that is of whole leaves.
    pub(crate) const fn is_of_leaves(&self) -> bool {
        !matches!(self.training, Training::Unsaid)
    }
}

/// The words as in the attribute, joined by commas; nothing where nothing is said.
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
