//! A variable with its state in a plan.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{TensorId, Var};

use super::{LeafState, StatePolicy};

/// A variable with its state in a plan.
///
/// A pair of a name and a variable converts to one that is trained, in a leaf of unknown type whose
/// path is the name up to its last dot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedVar {
    /// The full name; the first one of a tied variable.
    pub name: Arc<str>,
    /// The path of the first leaf that holds it.
    pub leaf: Arc<str>,
    /// The further names of a tied variable, each with the path of the leaf that holds it under that name.
    pub ties: Arc<[(Arc<str>, Arc<str>)]>,
    /// The type name of that leaf.
    pub kind: &'static str,
    /// The variable itself.
    pub var: Var,
    /// Frozen, or trained at a share of the learning rate. A tied variable is frozen only if every
    /// leaf that holds it is.
    pub state: LeafState,
    /// Whether it is declared to have no weight decay; a parameter group of the optimizer overrides
    /// this.
    pub no_decay: bool,
    /// What becomes of the optimizer state if the variable is frozen; `None`: as the optimizer is
    /// set.
    pub frozen_state: Option<StatePolicy>,
    /// Whether the optimizer drops the state that it has for the variable, so that the next update
    /// starts as the first one did. It holds for this plan alone.
    pub restarts: bool,
}

impl PlannedVar {
    /// Puts `prefix` before the name: `weight` becomes `prefix.weight`. This tells the variables of
    /// several models apart in one optimizer.
    ///
    /// ```
    /// use candle_core::{DType, Device, Var};
    /// use freeze_core::PlannedVar;
    ///
    /// let weight = Var::ones(2, DType::F32, &Device::Cpu)?;
    /// let planned = PlannedVar::from(("head.weight", weight)).within("teacher");
    /// assert_eq!((&*planned.name, &*planned.leaf), ("teacher.head.weight", "teacher.head"));
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn within(mut self, prefix: &str) -> Self {
        let within = |path: &str| -> Arc<str> {
            let dot = if prefix.is_empty() || path.is_empty() { "" } else { "." };
            format!("{prefix}{dot}{path}").into()
        };
        (self.name, self.leaf) = (within(&self.name), within(&self.leaf));
        self.ties = self.ties.iter().map(|(name, leaf)| (within(name), within(leaf))).collect();
        self
    }

    /// All its names, each with the path of the leaf.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        all_names((&self.name, &self.leaf), &self.ties)
    }
}

/// The first name and the further ones of a variable, each with the path of the leaf.
pub(crate) fn all_names<'a>(
    first: (&'a str, &'a str),
    ties: &'a [(Arc<str>, Arc<str>)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    std::iter::once(first).chain(ties.iter().map(|(name, leaf)| (&**name, &**leaf)))
}

/// Variables by their identity.
pub(crate) fn by_id(vars: &[PlannedVar]) -> HashMap<TensorId, &PlannedVar> {
    vars.iter().map(|var| (var.var.id(), var)).collect()
}

impl From<(String, Var)> for PlannedVar {
    fn from((name, var): (String, Var)) -> Self {
        let leaf = name.rsplit_once('.').map_or("", |(leaf, _)| leaf).into();
        Self {
            name: name.into(),
            leaf,
            ties: Arc::default(),
            kind: "",
            var,
            state: LeafState::TRAINED,
            no_decay: false,
            frozen_state: None,
            restarts: false,
        }
    }
}

impl From<(&str, Var)> for PlannedVar {
    fn from((name, var): (&str, Var)) -> Self {
        (name.to_string(), var).into()
    }
}
