//! A storage without elements.

use candle_core::backend::BackendDevice;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape};

/// A storage on a card that holds nothing. Of zeros, which candle would make, the driver is asked to write none.
pub(crate) fn no_elements(card: &CudaDevice) -> Result<CudaStorage> {
    // SAFETY: there is nothing that could be read before it is written.
    #[allow(unsafe_code)]
    unsafe {
        card.alloc_uninit(&Shape::from(0), DType::F64)
    }
}
