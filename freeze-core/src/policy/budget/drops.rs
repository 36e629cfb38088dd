//! The drops of the loss that were seen of each leaf.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::policy::{Observation, Seen};

/// The mean first-order drop of the loss of each leaf over the steps that showed it in one cycle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drops {
    cycle: usize,
    leaves: Vec<Sum>,
}

/// The sum for one leaf, and of how many steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "(u64, u64)", try_from = "(u64, u64)")]
struct Sum {
    drop: f64,
    steps: u64,
}

impl Drops {
    /// With what a step of `cycle` showed; earlier cycles are forgotten.
    ///
    /// # Errors
    ///
    /// A drop, or a sum of drops, is infinite or NaN.
    pub(super) fn with(&self, cycle: usize, seen: &Observation) -> Result<Self> {
        let mut drops = match self.cycle == cycle {
            true => self.clone(),
            false => Self { cycle, leaves: Vec::new() },
        };
        let mut last = None;
        for tensor in seen.tensors().iter().filter(|tensor| !tensor.is_again()) {
            let Some(drop) = tensor.first_order_loss_drop()? else { continue };
            let leaf = tensor.leaf();
            if drops.leaves.len() <= leaf {
                drops.leaves.resize(leaf + 1, Sum::default());
            }
            if let Some(sum) = drops.leaves.get_mut(leaf) {
                sum.drop = finite(tensor, sum.drop + drop)?;
                // The tensors of a leaf stand together.
                sum.steps += u64::from(last.replace(leaf) != Some(leaf));
            }
        }
        Ok(drops)
    }

    /// Whether nothing was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The mean of the leaf at `index`, 0 if it was not seen.
    pub(super) fn mean(&self, index: usize) -> f64 {
        let sum = self.leaves.get(index).copied().unwrap_or_default();
        if sum.steps == 0 { 0.0 } else { sum.drop / sum.steps as f64 }
    }
}

fn finite(tensor: &Seen, value: f64) -> Result<f64> {
    match value.is_finite() {
        true => Ok(value),
        false => {
            let (name, what) = (tensor.name().to_string(), "sum of the drops of the loss");
            Err(Error::Observed { name, what, value })
        }
    }
}

/// The bits of the sum, which JSON would not keep of every number.
impl From<Sum> for (u64, u64) {
    fn from(sum: Sum) -> Self {
        (sum.drop.to_bits(), sum.steps)
    }
}

impl TryFrom<(u64, u64)> for Sum {
    type Error = String;

    fn try_from((bits, steps): (u64, u64)) -> Result<Self, String> {
        match f64::from_bits(bits) {
            drop if drop.is_finite() => Ok(Self { drop, steps }),
            drop => Err(format!("a drop of the loss is {drop}")),
        }
    }
}
