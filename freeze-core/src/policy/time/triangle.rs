//! ULMFiT's slanted triangle of learning rates.

use serde::{Deserialize, Serialize};

use super::fraction::part;
use crate::error::{Error, Result, check_number, check_share};

/// A learning rate that rises for a short part of the run and then falls, both evenly: a setting of
/// [`GradualUnfreezing`](super::GradualUnfreezing).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Triangle {
    /// The share of the run, above 0 and up to 1, for which it rises; 0.1.
    pub cut_frac: f64,
    /// How many times higher it is at its highest than at both ends, at least 1; 32.
    pub ratio: f64,
}

impl Default for Triangle {
    fn default() -> Self {
        Self { cut_frac: 0.1, ratio: 32.0 }
    }
}

impl Triangle {
    pub(super) fn check(self) -> Result<()> {
        let Self { cut_frac, ratio } = self;
        check_share("cut_frac", cut_frac)?;
        check_number("ratio", ratio, 1.0.., "a finite number of at least 1")
    }
}

/// The share of the highest learning rate for the step after `step` of `steps` steps, in [1 / ratio, 1].
///
/// ```text
/// cut   = floor(steps * cut_frac)
/// p     = step / cut                            while step < cut
///       = 1 - (step - cut) / (steps - cut)      from then on
/// share = (1 + p * (ratio - 1)) / ratio
/// ```
///
/// ```
/// use freeze_core::policy::{Triangle, slanted_triangle};
///
/// let triangle = Triangle { cut_frac: 0.25, ratio: 8.0 };
/// assert_eq!(slanted_triangle(triangle, 0, 16)?, 0.125);
/// assert_eq!(slanted_triangle(triangle, 4, 16)?, 1.0);
/// assert!(slanted_triangle(triangle, 0, 3).is_err());
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Howard and Ruder, "ULMFiT", 2018 (arXiv:1801.06146), section 3.2. Where we depart from it: the
/// paper divides by `cut * (1 / cut_frac - 1)`, which is less than `steps - cut` where
/// `steps * cut_frac` is not whole, so that rates fall below 0 before the end; the authors' code and
/// AllenNLP divide as we do. And `cut_frac` means the simple fraction it is written for: 0.29 of 100
/// steps are 29, not 28.
///
/// # Errors
///
/// `cut` is 0, a number is outside its range, or `step` exceeds `steps`.
pub fn slanted_triangle(triangle: Triangle, step: usize, steps: usize) -> Result<f64> {
    triangle.check()?;
    let Triangle { cut_frac, ratio } = triangle;
    let cut = part(steps, cut_frac);
    if cut == 0 {
        let expected = "at least 1 / `cut_frac`, so that the rate rises for a step";
        return Err(Error::count("steps", steps, expected));
    }
    if step > steps {
        return Err(Error::count("step", step, "at most the steps of the run"));
    }
    let p = match step.checked_sub(cut) {
        None => step as f64 / cut as f64,
        Some(0) => 1.0,
        Some(past) => 1.0 - past as f64 / (steps - cut) as f64,
    };
    Ok((1.0 + p * (ratio - 1.0)) / ratio)
}
