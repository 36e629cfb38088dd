//! The size of a tensor.

use candle_core::Tensor;

/// The bytes of a tensor's elements.
pub(crate) fn bytes_of(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}
