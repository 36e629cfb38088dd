//! How similar a stage's outputs are to a reference's: the arithmetic of Egeria's plasticity.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};

/// The similarities of samples to each other, as a stage's outputs show them: with `Q` the outputs as a
/// matrix of `b` rows, `Q Q^T` with its rows divided by their L2 norms, row by row. A row of zeros stays
/// one.
///
/// # Errors
///
/// The tensor has no samples, a number is infinite or NaN, or its device failed.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use freeze_core::policy::{plasticity, similarities, slope};
///
/// let outputs = Tensor::new(&[[1.0f32, 0.0], [0.0, 2.0]], &Device::Cpu)?;
/// let (now, before) = (similarities(&outputs)?, vec![1.0, 0.0, 1.0, 0.0]);
/// assert_eq!(now, [1.0, 0.0, 0.0, 1.0]);
/// assert_eq!(plasticity(&now, &before), Some(0.5));
/// assert_eq!(slope(&[3.0, 2.0, 1.0]), -1.0);
/// # Ok::<(), freeze_core::Error>(())
/// ```
pub fn similarities(outputs: &Tensor) -> Result<Vec<f64>> {
    let samples = outputs.dims().first().copied().unwrap_or(0);
    if samples == 0 {
        return Err(Error::count("samples", samples, "at least 1 in the probe batch"));
    }
    let rows = outputs.to_dtype(DType::F64)?.reshape((samples, ()))?;
    let mut products = rows.matmul(&rows.t()?)?.flatten_all()?.to_vec1::<f64>()?;
    if let Some(&value) = products.iter().find(|number| !number.is_finite()) {
        let name = "the probe batch".to_string();
        return Err(Error::Observed { name, what: "outputs", value });
    }
    for row in products.chunks_mut(samples) {
        let norm = row.iter().map(|number| number * number).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|number| *number /= norm);
        }
    }
    Ok(products)
}

/// The mean square of the differences of two matrices of [`similarities`], that is, Egeria's
/// `1 / b^2 * ||A - B||_F^2`; `None` if they are not of the same size.
pub fn plasticity(now: &[f64], reference: &[f64]) -> Option<f64> {
    if now.len() != reference.len() || now.is_empty() {
        return None;
    }
    let squares = now.iter().zip(reference).map(|(now, before)| (now - before) * (now - before));
    Some(squares.sum::<f64>() / now.len() as f64)
}

/// The slope of the straight line with the least squares through `values`, one apart; 0 for fewer than
/// two.
pub fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let mut sums = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let x = at as f64 - middle;
        sums = (sums.0 + x * (value - mean), sums.1 + x * x);
    }
    if sums.1 == 0.0 { 0.0 } else { sums.0 / sums.1 }
}
