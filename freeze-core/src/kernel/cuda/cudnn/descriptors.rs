//! What cuDNN is told of tensors and convolutions, freed when it is dropped.

use std::ffi::c_int;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cudnn::{result, sys};
use candle_core::{CudaDevice, DType, Error, Result, bail};

use crate::kernel::conv::Geometry;

/// cuDNN on a card, for one thread.
pub(super) struct Handle(pub(super) sys::cudnnHandle_t);

impl Handle {
    /// A handle whose work is behind all that was launched before.
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let handle = Self(result::create_handle().map_err(Error::wrap)?);
        // SAFETY: both are there; the stream lives as long as the device, which storages hold.
        #[allow(unsafe_code)]
        let set = unsafe { result::set_stream(handle.0, stream.cu_stream() as *mut _) };
        set.map_err(Error::wrap)?;
        Ok(handle)
    }
}

/// Input, weight, result, and how they belong together.
pub(super) struct Descriptors {
    pub(super) x: sys::cudnnTensorDescriptor_t,
    pub(super) w: sys::cudnnFilterDescriptor_t,
    pub(super) y: sys::cudnnTensorDescriptor_t,
    pub(super) conv: sys::cudnnConvolutionDescriptor_t,
}

impl Descriptors {
    /// `None` for sizes beyond those that cuDNN counts in 32 bits.
    pub(super) fn new(g: &Geometry, dtype: DType) -> Result<Option<Self>> {
        let (of, arithmetic) = types(dtype)?;
        let (height, width) = (&g.height, &g.width);
        let x = [g.batch, g.channels_in, height.input, width.input];
        let w = [g.channels_out, g.group_in(), height.kernel, width.kernel];
        let y = [g.batch, g.channels_out, height.output, width.output];
        let by = [height.padding, width.padding, height.stride, width.stride];
        let (Some(x), Some(w), Some(y), Some(by), Some([down, along, groups, _])) = (
            sizes(x),
            sizes(w),
            sizes(y),
            sizes(by),
            sizes([height.dilation, width.dilation, g.groups, 1]),
        ) else {
            return Ok(None);
        };
        let mut made = Self {
            x: std::ptr::null_mut(),
            w: std::ptr::null_mut(),
            y: std::ptr::null_mut(),
            conv: std::ptr::null_mut(),
        };
        made.x = result::create_tensor_descriptor().map_err(Error::wrap)?;
        made.w = result::create_filter_descriptor().map_err(Error::wrap)?;
        made.y = result::create_tensor_descriptor().map_err(Error::wrap)?;
        made.conv = result::create_convolution_descriptor().map_err(Error::wrap)?;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let [top, left, lower, further] = by;
        // SAFETY: the descriptors were made above and are freed when `made` is dropped.
        #[allow(unsafe_code)]
        let set = unsafe {
            result::set_tensor4d_descriptor(made.x, format, of, x)
                .and_then(|()| result::set_filter4d_descriptor(made.w, of, format, w))
                .and_then(|()| result::set_tensor4d_descriptor(made.y, format, of, y))
                .and_then(|()| {
                    result::set_convolution2d_descriptor(
                        made.conv, top, left, lower, further, down, along, mode, arithmetic,
                    )
                })
                .and_then(|()| result::set_convolution_group_count(made.conv, groups))
        };
        set.map_err(Error::wrap)?;
        Ok(Some(made))
    }
}

/// The type of elements, and that of arithmetic.
fn types(dtype: DType) -> Result<(sys::cudnnDataType_t, sys::cudnnDataType_t)> {
    use sys::cudnnDataType_t as of;
    Ok(match dtype {
        DType::F32 => (of::CUDNN_DATA_FLOAT, of::CUDNN_DATA_FLOAT),
        DType::F64 => (of::CUDNN_DATA_DOUBLE, of::CUDNN_DATA_DOUBLE),
        DType::F16 => (of::CUDNN_DATA_HALF, of::CUDNN_DATA_FLOAT),
        DType::BF16 => (of::CUDNN_DATA_BFLOAT16, of::CUDNN_DATA_FLOAT),
        _ => bail!("no convolution of {dtype:?}"),
    })
}

/// Four sizes as cuDNN takes them, if their product can be counted so, too.
fn sizes(sizes: [usize; 4]) -> Option<[c_int; 4]> {
    let product =
        sizes.iter().try_fold(1usize, |product, size| product.checked_mul((*size).max(1)));
    c_int::try_from(product?).ok()?;
    Some(sizes.map(|size| size as c_int))
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: each was made by `new`, unless it is null, and nothing else frees it.
        #[allow(unsafe_code)]
        unsafe {
            if !self.x.is_null() {
                let _ = result::destroy_tensor_descriptor(self.x);
            }
            if !self.w.is_null() {
                let _ = result::destroy_filter_descriptor(self.w);
            }
            if !self.y.is_null() {
                let _ = result::destroy_tensor_descriptor(self.y);
            }
            if !self.conv.is_null() {
                let _ = result::destroy_convolution_descriptor(self.conv);
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and nothing else frees it.
        #[allow(unsafe_code)]
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}
