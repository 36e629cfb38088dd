//! Which leaves train, and at what share of the learning rate, as plain data.

mod always;
mod begin;
mod change;
mod declared;
mod grad_clip;
mod measured;
mod optimizer;
mod pattern;
mod planned;
mod prepared;
mod saved;
mod state_policy;
mod tie;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, cut, near};

pub use change::Change;
pub use declared::Declared;
pub use grad_clip::GradClip;
pub use measured::{Measured, Measures, Norms};
pub use optimizer::{OptimizerState, PlanOptimizer, Released};
pub(crate) use pattern::{matching, matching_any, matching_params};
pub use planned::PlannedVar;
pub(crate) use planned::{all_names, by_id};
pub use prepared::Prepared;
pub use state_policy::StatePolicy;
pub use tie::Tie;

/// The state of one leaf in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeafState {
    /// No gradient, no optimizer state, no update.
    Frozen,
    /// Trained at `lr_scale` times the optimizer's learning rate.
    Trained {
        /// The share of the learning rate: finite, not negative.
        lr_scale: f64,
    },
}

impl LeafState {
    /// Trained at the optimizer's own learning rate.
    pub const TRAINED: Self = Self::Trained { lr_scale: 1.0 };

    /// Whether the leaf is frozen.
    pub fn is_frozen(self) -> bool {
        matches!(self, Self::Frozen)
    }

    fn check(self) -> Result<()> {
        match self {
            Self::Trained { lr_scale } if !(lr_scale.is_finite() && lr_scale >= 0.0) => {
                let expected = "a finite number of at least 0";
                Err(Error::Number { name: "lr_scale", value: lr_scale, expected })
            }
            _ => Ok(()),
        }
    }
}

/// The state of every leaf of a model, by path: plain data that can be compared, saved and sent.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use candle_nn::{Linear, VarBuilder, linear};
/// # use freeze_core::{Freezable, FreezePlan, LeafState};
/// # #[derive(Freezable)]
/// # struct Net { body: Vec<Linear>, head: Linear }
/// # let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
/// # let net = Net { body: vec![linear(2, 2, vb.pp("b"))?, linear(2, 2, vb.pp("c"))?], head: linear(2, 2, vb.pp("h"))? };
/// let mut plan = FreezePlan::all_trained(&net)?;
/// plan.freeze("body.**")?.train("body.1", 0.1)?;
/// assert_eq!(plan.frozen_leaves(), 1);
/// assert_eq!(plan.state(1), Some(LeafState::Trained { lr_scale: 0.1 }));
/// assert!(plan.freeze("bodi.**").is_err());
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "saved::Leaves", into = "saved::Leaves")]
pub struct FreezePlan {
    paths: Arc<[String]>,
    /// Whether the leaf is declared `always`.
    always: Arc<[bool]>,
    states: Vec<LeafState>,
}

impl FreezePlan {
    /// Freezes the first `n` leaves except those declared `always`, which only the methods that
    /// name a leaf can freeze; the others keep their state.
    ///
    /// # Errors
    ///
    /// `n` is larger than the number of leaves.
    pub fn freeze_front(&mut self, n: usize) -> Result<&mut Self> {
        let leaves = self.states.len();
        let front = self.states.get_mut(..n).ok_or(Error::Depth { asked: n, leaves })?;
        let free = front.iter_mut().zip(self.always.iter()).filter(|(_, always)| !**always);
        free.for_each(|(state, _)| *state = LeafState::Frozen);
        Ok(self)
    }

    /// Freezes every leaf that `pattern` matches; see [`set_matching`](Self::set_matching).
    ///
    /// # Errors
    ///
    /// As [`set_matching`](Self::set_matching).
    pub fn freeze(&mut self, pattern: &str) -> Result<&mut Self> {
        self.set_matching(pattern, LeafState::Frozen)
    }

    /// Trains every leaf that `pattern` matches at `lr_scale` times the learning rate.
    ///
    /// # Errors
    ///
    /// As [`set_matching`](Self::set_matching), or `lr_scale` is negative or not finite.
    pub fn train(&mut self, pattern: &str, lr_scale: f64) -> Result<&mut Self> {
        self.set_matching(pattern, LeafState::Trained { lr_scale })
    }

    /// Sets the leaf at `index`.
    ///
    /// # Errors
    ///
    /// There is no such leaf, or the learning-rate scale is negative or not finite.
    pub fn set(&mut self, index: usize, state: LeafState) -> Result<&mut Self> {
        state.check()?;
        let leaves = self.states.len();
        let slot = self.states.get_mut(index).ok_or_else(|| Error::Path {
            path: index.to_string(),
            near: format!(": the plan has {leaves} leaves"),
        })?;
        *slot = state;
        Ok(self)
    }

    /// Sets the leaf whose path is exactly `path`.
    ///
    /// # Errors
    ///
    /// There is no such leaf; similar names are listed.
    pub fn set_path(&mut self, path: &str, state: LeafState) -> Result<&mut Self> {
        let index = self.paths.iter().position(|p| p == path).ok_or_else(|| self.no_match(path))?;
        self.set(index, state)
    }

    /// Sets every leaf whose whole path `pattern` matches.
    ///
    /// `*` and `?` match within one segment, `**` any number of segments, none included, and
    /// `[ab]`, `{a,b}` as in a shell: `layers.1.**` matches all of layer 1 and nothing of layer 10.
    ///
    /// # Errors
    ///
    /// The pattern cannot be read or matches no leaf; the near names are listed.
    pub fn set_matching(&mut self, pattern: &str, state: LeafState) -> Result<&mut Self> {
        state.check()?;
        let matched = matching(pattern, self.paths.iter().map(String::as_str))?;
        if matched.is_empty() {
            return Err(self.no_match(pattern));
        }
        for index in matched {
            self.states[index] = state;
        }
        Ok(self)
    }

    /// The state of the leaf at `index`.
    pub fn state(&self, index: usize) -> Option<LeafState> {
        self.states.get(index).copied()
    }

    /// Whether the leaf at `index` is declared `always`, so that no schedule freezes it.
    pub fn is_always(&self, index: usize) -> bool {
        self.always.get(index).copied().unwrap_or(false)
    }

    /// The states in the order of the leaves.
    pub fn states(&self) -> &[LeafState] {
        &self.states
    }

    /// The leaves' paths in order.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The number of leaves.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether the model has no leaf at all.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The number of frozen leaves, not only those at the front.
    pub fn frozen_leaves(&self) -> usize {
        self.states.iter().filter(|state| state.is_frozen()).count()
    }

    /// Whether `other`, a plan of the same leaves, freezes the same leaves as this one.
    pub(crate) fn freezes_as(&self, other: &Self) -> bool {
        let frozen = |state: &LeafState| state.is_frozen();
        self.states.iter().map(frozen).eq(other.states.iter().map(frozen))
    }

    /// Freezes every leaf that `other`, a plan of the same leaves, freezes.
    pub(crate) fn freeze_as(&mut self, other: &Self) {
        let frozen =
            self.states.iter_mut().zip(&other.states).filter(|(_, other)| other.is_frozen());
        frozen.for_each(|(state, _)| *state = LeafState::Frozen);
    }

    /// Multiplies the share of the learning rate of the leaf at `index` by `factor`; a frozen leaf stays
    /// frozen.
    ///
    /// # Errors
    ///
    /// There is no such leaf, or the product is negative or not finite.
    pub fn scale(&mut self, index: usize, factor: f64) -> Result<&mut Self> {
        match self.state(index) {
            Some(LeafState::Trained { lr_scale }) => {
                self.set(index, LeafState::Trained { lr_scale: lr_scale * factor })
            }
            Some(LeafState::Frozen) => Ok(self),
            None => self.set(index, LeafState::Frozen),
        }
    }

    /// Checks that the plan's leaves are exactly `paths`, in that order.
    ///
    /// # Errors
    ///
    /// They are not; the error names the first difference.
    pub(crate) fn check_paths(&self, paths: &[String]) -> Result<()> {
        // Plans of one freezer share their paths.
        if std::ptr::eq(&*self.paths, paths) {
            return Ok(());
        }
        if let Some((i, (ours, theirs))) =
            self.paths.iter().zip(paths).enumerate().find(|(_, (ours, theirs))| ours != theirs)
        {
            let (ours, theirs) = (cut(ours), cut(theirs));
            let why = format!("leaf {i} is `{ours}` in the plan and `{theirs}` in the model");
            return Err(Error::PlanMismatch { why });
        }
        if self.len() != paths.len() {
            let why = format!("it has {} leaves, the model {}", self.len(), paths.len());
            return Err(Error::PlanMismatch { why });
        }
        Ok(())
    }

    fn no_match(&self, pattern: &str) -> Error {
        let group = format!("{pattern}.");
        let near = if self.paths.iter().any(|path| path.starts_with(&group)) {
            let pattern = cut(pattern);
            format!("; `{pattern}` is a group: its leaves are `{pattern}.**`")
        } else {
            near(pattern, self.paths.iter().map(String::as_str))
        };
        Error::NoMatch { pattern: pattern.to_string(), near }
    }
}
