//! Values that are moved a little, to find out by experiment what depends on them.

use candle_core::{DType, Tensor};

use crate::error::Result;

/// `value` with every element moved by a different amount, at most `share * (largest + 1)`, because
/// many layers ignore a common offset or scale.
pub(crate) fn nudged(value: &Tensor, share: f64) -> Result<Tensor> {
    let largest = value.to_dtype(DType::F64)?.abs()?.flatten_all()?;
    let largest = largest.to_vec1::<f64>()?.into_iter().fold(0.0, f64::max);
    let reach = share * (largest + 1.0);
    let offsets: Vec<f64> = (0..value.elem_count()).map(|i| reach * spread(i as u64)).collect();
    let offsets = Tensor::from_vec(offsets, value.shape(), value.device())?;
    Ok((value + offsets.to_dtype(value.dtype())?)?)
}

/// A number in [-1, 1) that looks random (splitmix64, Steele, Lea and Flood 2014).
fn spread(index: u64) -> f64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests;
