//! Converts tensors to bytes, little-endian as in safetensors.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::View;

use crate::error::{Error, Result};

/// The approximate number of bytes in one piece.
const CHUNK: usize = 1 << 18;

/// Passes the bytes of `tensor` to `sink`, piece by piece.
pub(crate) fn each_chunk(tensor: &Tensor, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let tensor = tensor.detach().to_device(&Device::Cpu)?.flatten_all()?;
    let mut bytes = Vec::with_capacity(CHUNK);
    macro_rules! chunks {
        ($type:ty) => {
            for values in tensor.to_vec1::<$type>()?.chunks(CHUNK / size_of::<$type>()) {
                bytes.clear();
                values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
                sink(&bytes)?;
            }
        };
    }
    match tensor.dtype() {
        DType::U8 => sink(&tensor.to_vec1::<u8>()?)?,
        DType::U32 => chunks!(u32),
        DType::I16 => chunks!(i16),
        DType::I32 => chunks!(i32),
        DType::I64 => chunks!(i64),
        DType::BF16 => chunks!(half::bf16),
        DType::F16 => chunks!(half::f16),
        DType::F32 => chunks!(f32),
        DType::F64 => chunks!(f64),
        // The Rust type of this element type is private to candle.
        DType::F8E4M3 => sink(&tensor.contiguous()?.data())?,
        dtype => {
            let what = format!("a tensor of type {dtype:?}");
            return Err(Error::Unsaved { what, why: "candle cannot read its elements".into() });
        }
    }
    Ok(())
}

/// The number of elements; `None` if shape or strides overflow, even where a dimension is 0.
/// candle's own arithmetic is not checked.
pub(super) fn checked_elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim.max(1)))?;
    Some(shape.iter().product())
}
