//! The norm of gradients, on any device and of any magnitude.

use candle_core::{Result, Tensor, WithDType};

use super::all_finite;
use super::by_tensors::{largest_by_tensors, sum_by_tensors};
use super::norms::sum_squares;
use crate::kernel::{by_element, slices};

/// The norm of many gradients together, as the product of two numbers, which may overflow although
/// neither does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Norm {
    unit: f64,
    in_units: f64,
}

impl Norm {
    /// One that was computed as a number.
    #[cfg(feature = "cuda")]
    pub(crate) fn of(value: f64) -> Self {
        Self { unit: 1.0, in_units: value }
    }

    pub(crate) fn value(self) -> f64 {
        self.unit * self.in_units
    }

    /// Whether no element was infinite or NaN.
    pub(crate) fn is_of_finite(self) -> bool {
        self.in_units.is_finite()
    }

    /// The factor that makes the norm `bound`.
    pub(crate) fn factor_to(self, bound: f64) -> f64 {
        bound / self.unit / self.in_units
    }
}

/// The norm of all elements of all gradients, summed in double precision.
///
/// # Errors
///
/// The device fails, or a type has no arithmetic here.
pub(crate) fn norm(grads: &[&Tensor]) -> Result<Norm> {
    let (here, elsewhere): (Vec<&Tensor>, Vec<_>) =
        grads.iter().partition(|grad| grad.device().is_cpu());
    let sum = here.iter().map(|grad| squares_here(grad)).sum::<Result<f64>>()?
        + sum_by_tensors(&elsewhere, Tensor::sqr)?;
    // Below this, squares that underflowed could matter: in `f64` here, in `f32` elsewhere.
    let sure = if elsewhere.is_empty() { 1e-290 } else { 1e-20 };
    if (sure..=f64::MAX).contains(&sum) {
        return Ok(Norm { unit: 1.0, in_units: sum.sqrt() });
    }
    if !all_finite(grads)? {
        return Ok(Norm { unit: 1.0, in_units: f64::NAN });
    }
    norm_in_units(&here, &elsewhere)
}

/// The largest element is the unit, so that no sum of squares overflows or vanishes.
fn norm_in_units(here: &[&Tensor], elsewhere: &[&Tensor]) -> Result<Norm> {
    let mut unit = largest_by_tensors(elsewhere)?;
    for grad in here {
        fold_here(grad, &mut |x| unit = unit.max(x.abs()))?;
    }
    if unit == 0.0 {
        return Ok(Norm { unit: 1.0, in_units: 0.0 });
    }
    let mut sum = 0.0;
    for grad in here {
        fold_here(grad, &mut |x| sum += (x / unit) * (x / unit))?;
    }
    // Two factors, because one over a subnormal number is infinite.
    let root = unit.sqrt();
    sum += sum_by_tensors(elsewhere, |grad| ((grad / root)? / root)?.sqr())?;
    Ok(Norm { unit, in_units: sum.sqrt() })
}

fn squares_here(grad: &Tensor) -> Result<f64> {
    by_element!(grad.dtype(), "norm", T => {
        slices::with(grad, |elements: &[T]| Ok(sum_squares(elements)))
    })
}

fn fold_here(grad: &Tensor, take: &mut dyn FnMut(f64)) -> Result<()> {
    by_element!(grad.dtype(), "norm", T => slices::with(grad, |elements: &[T]| {
        elements.iter().for_each(|x| take(x.to_f64()));
        Ok(())
    }))
}
