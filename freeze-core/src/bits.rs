//! Compares tensors bit for bit.

use candle_core::{DType, Result, Tensor};

/// The bits of every element as an `f64`, which is exact for every type but large integers.
pub(crate) fn bits(tensor: &Tensor) -> Result<Vec<u64>> {
    let values = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    Ok(values.into_iter().map(f64::to_bits).collect())
}
