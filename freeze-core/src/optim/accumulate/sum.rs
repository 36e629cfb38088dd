//! The weighted sum of one variable's gradients.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::kernel::update::add_scaled;
use crate::optim::slot::bytes;

/// In units of the largest weight so far, so that neither it nor the total overflows, and equal
/// weights are all 1.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// `None` while there was no gradient.
    tensor: Option<Tensor>,
    /// The sum of all weights, in units.
    total: f64,
    unit: f64,
}

/// A sum taken apart.
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
    /// Adds a micro-batch; without a gradient it counts as one of zero.
    pub(super) fn add(&mut self, grad: Option<&Tensor>, weight: f64) -> Result<()> {
        let unit = self.unit.max(weight);
        let (keep, factor) = (self.unit / unit, weight / unit);
        match (&self.tensor, grad) {
            (Some(sum), Some(grad)) => add_scaled(sum, keep, grad, factor)?,
            (Some(sum), None) if keep != 1.0 => self.tensor = Some(sum.affine(keep, 0.0)?),
            // A tensor of our own, since it is written to later.
            (None, Some(grad)) => self.tensor = Some(grad.affine(factor, 0.0)?),
            _ => {}
        }
        (self.total, self.unit) = (self.total * keep + factor, unit);
        Ok(())
    }

    pub(super) fn mean(self) -> Result<Option<Tensor>> {
        match (self.tensor, self.total) {
            (Some(sum), total) if total != 1.0 => Ok(Some((sum / total)?)),
            (sum, _) => Ok(sum),
        }
    }

    /// What there is to save; `None` before the first micro-batch.
    pub(super) fn saved(&self) -> Option<SavedSum> {
        let Self { tensor, total, unit } = self;
        (*total > 0.0).then(|| SavedSum { tensor: tensor.clone(), total: *total, unit: *unit })
    }

    /// What was saved, on a device.
    pub(super) fn of(saved: SavedSum, device: &Device) -> Result<Self> {
        let tensor = saved.tensor.map(|tensor| tensor.to_device(device)).transpose()?;
        Ok(Self { tensor, total: saved.total, unit: saved.unit })
    }

    /// Whether no micro-batch was added.
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0.0
    }

    pub(super) fn bytes(&self) -> usize {
        self.tensor.as_ref().map_or(0, bytes)
    }
}
