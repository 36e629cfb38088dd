//! The weighted sum of one variable's gradients.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::kernel::bytes_of;
use crate::kernel::update::add_scaled;

/// The weighted sum, in units of the largest weight so far, so that neither sum nor total weight
/// overflows and equal weights are all 1.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// `None` while there was no gradient.
    tensor: Option<Tensor>,
    /// The sum of all weights, in units.
    total: f64,
    unit: f64,
}

/// The parts of a sum.
#[derive(Clone, Debug)]
pub(crate) struct SavedSum {
    /// `None` while there was no gradient.
    pub(crate) tensor: Option<Tensor>,
    /// The sum of all weights, in units.
    pub(crate) total: f64,
    /// The largest weight.
    pub(crate) unit: f64,
}

impl Sum {
    /// Allocates what [`add`](Self::add) needs for the same micro-batch: the sum, if it is not written to in place.
    pub(super) fn renewed(&self, grad: Option<&Tensor>, weight: f64) -> Result<Option<Tensor>> {
        let (_, keep, factor) = self.shares(weight);
        Ok(match (&self.tensor, grad) {
            (Some(sum), None) if keep != 1.0 => Some(times(sum, keep)?),
            // A copy, because it is written to later.
            (None, Some(grad)) => Some(times(grad, factor)?),
            _ => None,
        })
    }

    /// Adds a micro-batch; no gradient counts as zero.
    pub(super) fn add(
        &mut self,
        grad: Option<&Tensor>,
        weight: f64,
        renewed: Option<Tensor>,
    ) -> Result<()> {
        let (unit, keep, factor) = self.shares(weight);
        match (renewed, &self.tensor, grad) {
            (Some(renewed), ..) => self.tensor = Some(renewed),
            (None, Some(sum), Some(grad)) => add_scaled(sum, keep, grad, factor)?,
            _ => {}
        }
        (self.total, self.unit) = (self.total * keep + factor, unit);
        Ok(())
    }

    /// The unit with a micro-batch of this weight, and in it what is kept of the sum and the share of the gradient.
    fn shares(&self, weight: f64) -> (f64, f64, f64) {
        let unit = self.unit.max(weight);
        (unit, self.unit / unit, weight / unit)
    }

    pub(super) fn mean(self) -> Result<Option<Tensor>> {
        match (self.tensor, self.total) {
            (Some(sum), total) if total != 1.0 && sum.elem_count() > 0 => Ok(Some((sum / total)?)),
            (sum, _) => Ok(sum),
        }
    }

    /// The parts to save; `None` before the first micro-batch.
    pub(super) fn saved(&self) -> Option<SavedSum> {
        let Self { tensor, total, unit } = self;
        (*total > 0.0).then(|| SavedSum { tensor: tensor.clone(), total: *total, unit: *unit })
    }

    /// The sum from its saved parts, on `device`.
    pub(super) fn of(saved: SavedSum, device: &Device) -> Result<Self> {
        let tensor = saved.tensor.map(|tensor| tensor.to_device(device)).transpose()?;
        Ok(Self { tensor, total: saved.total, unit: saved.unit })
    }

    /// Whether no micro-batch has been added.
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0.0
    }

    pub(super) fn bytes(&self) -> usize {
        self.tensor.as_ref().map_or(0, bytes_of)
    }
}

/// A copy of each element times a number; of no elements a card makes none.
fn times(tensor: &Tensor, by: f64) -> Result<Tensor> {
    Ok(if tensor.elem_count() == 0 { tensor.clone() } else { tensor.affine(by, 0.0)? })
}
