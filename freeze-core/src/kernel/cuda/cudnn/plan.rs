//! A pass of a convolution and the algorithm chosen for it.

use std::ffi::c_void;
use std::rc::Rc;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cudnn::{result as api, sys};
use candle_core::{CudaDevice, DType, Error, Result};

use super::descriptors::{Descriptors, Handle};
use crate::kernel::conv::Geometry;
use crate::kernel::cuda::array::Array;

/// A result of a convolution, or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pass {
    /// The result, from input and weight.
    Forward,
    /// The gradient of the input, from the weight and the result's gradient.
    Input,
    /// The gradient of the weight, from the input and the result's gradient.
    Weight,
}

/// The most bytes that an algorithm may use besides operands and result.
const SPACE: usize = 1 << 30;

/// A pass, ready to run.
pub(super) struct Plan {
    handle: Rc<Handle>,
    of: Descriptors,
    algorithm: Algorithm,
    workspace: usize,
    dtype: DType,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// The deterministic algorithms that cuDNN proposes, the one that it expects to be the fastest first.
macro_rules! proposed {
    ($ask:path, $algorithm:path, $($operand:expr),+) => {{
        const ASKED: usize = 8;
        let (mut count, mut found) = (0, [std::mem::zeroed(); ASKED]);
        $ask($($operand),+, ASKED as i32, &mut count, found.as_mut_ptr()).map_err(Error::wrap)?;
        let found = found.iter().take(count.max(0) as usize);
        let fit = found.filter(|found| {
            found.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && found.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
        });
        fit.map(|found| ($algorithm(found.algo), found.mathType)).collect::<Vec<_>>()
    }};
}

impl Plan {
    /// `None` where cuDNN has no algorithm that always gives the same bits. `rounds`: f32 may be rounded to TF32.
    pub(super) fn new(
        handle: Rc<Handle>,
        pass: Pass,
        geometry: &Geometry,
        dtype: DType,
        rounds: bool,
    ) -> Result<Option<Self>> {
        use sys::cudnnMathType_t as math;
        let Some(of) = Descriptors::new(geometry, dtype)? else { return Ok(None) };
        let asked = match dtype {
            DType::F32 if !rounds => math::CUDNN_FMA_MATH,
            DType::F64 => math::CUDNN_DEFAULT_MATH,
            _ => math::CUDNN_TENSOR_OP_MATH,
        };
        let (on, Descriptors { x, w, y, conv }) = (handle.0, &of);
        // SAFETY: handle and descriptors are there; zeros are values of every number and enum of what is found.
        #[allow(unsafe_code)]
        let proposed = unsafe {
            api::set_convolution_math_type(*conv, asked).map_err(Error::wrap)?;
            match pass {
                Pass::Forward => proposed!(
                    api::get_convolution_forward_algorithm,
                    Algorithm::Forward,
                    on,
                    *x,
                    *w,
                    *conv,
                    *y
                ),
                Pass::Input => proposed!(
                    api::get_convolution_backward_data_algorithm,
                    Algorithm::Input,
                    on,
                    *w,
                    *y,
                    *conv,
                    *x
                ),
                Pass::Weight => proposed!(
                    api::get_convolution_backward_filter_algorithm,
                    Algorithm::Weight,
                    on,
                    *x,
                    *y,
                    *conv,
                    *w
                ),
            }
        };
        let mut plan =
            Self { handle, of, algorithm: Algorithm::Forward(NONE), workspace: 0, dtype };
        for (algorithm, found) in proposed {
            // What is proposed may use TF32, whatever was asked for.
            let math = if asked == math::CUDNN_FMA_MATH { asked } else { found };
            // SAFETY: as above.
            #[allow(unsafe_code)]
            unsafe { api::set_convolution_math_type(plan.of.conv, math) }.map_err(Error::wrap)?;
            plan.algorithm = algorithm;
            match plan.needs() {
                Ok(bytes) if bytes <= SPACE => {
                    plan.workspace = bytes;
                    return Ok(Some(plan));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The bytes that a run needs besides operands and result.
    pub(super) fn workspace(&self) -> usize {
        self.workspace
    }

    fn needs(&self) -> std::result::Result<usize, api::CudnnError> {
        let (on, Descriptors { x, w, y, conv }) = (self.handle.0, &self.of);
        // SAFETY: handle and descriptors are there as long as the plan.
        #[allow(unsafe_code)]
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => {
                    api::get_convolution_forward_workspace_size(on, *x, *w, *conv, *y, algorithm)
                }
                Algorithm::Input(algorithm) => api::get_convolution_backward_data_workspace_size(
                    on, *w, *y, *conv, *x, algorithm,
                ),
                Algorithm::Weight(algorithm) => {
                    api::get_convolution_backward_filter_workspace_size(
                        on, *x, *y, *conv, *w, algorithm,
                    )
                }
            }
        }
    }

    /// Writes to `result`, behind all that was launched before. The caller has compared all lengths with the geometry.
    pub(super) fn run(
        &self,
        device: &CudaDevice,
        [first, second]: [Array<'_>; 2],
        space: Option<Array<'_>>,
        result: Array<'_>,
    ) -> Result<()> {
        device.cuda_stream().context().bind_to_thread().w()?;
        let (on, Descriptors { x, w, y, conv }) = (self.handle.0, &self.of);
        let [a, b] = [first.address, second.address].map(|address| address as *const c_void);
        let to = result.address as *mut c_void;
        let (space, bytes) =
            space.map_or((0, 0), |space| (space.address, self.workspace.min(space.len)));
        let space = space as *mut c_void;
        // One times the result plus zero times what is there, in the type of arithmetic.
        let (singles, doubles) = ([1f32, 0.0], [1f64, 0.0]);
        let scale = |place: usize| match self.dtype {
            DType::F64 => (&raw const doubles[place]).cast::<c_void>(),
            _ => (&raw const singles[place]).cast(),
        };
        let (one, zero) = (scale(0), scale(1));
        // SAFETY: handle and descriptors are there as long as the plan; the storages are borrowed, as long as the
        // geometry says, and those freed later are freed behind the run, on the same stream.
        #[allow(unsafe_code)]
        let ran = unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => api::convolution_forward(
                    on, one, *x, a, *w, b, *conv, algorithm, space, bytes, zero, *y, to,
                ),
                Algorithm::Input(algorithm) => api::convolution_backward_data(
                    on, one, *w, a, *y, b, *conv, algorithm, space, bytes, zero, *x, to,
                ),
                Algorithm::Weight(algorithm) => api::convolution_backward_filter(
                    on, one, *x, a, *y, b, *conv, algorithm, space, bytes, zero, *w, to,
                ),
            }
        };
        ran.map_err(Error::wrap)
    }
}

/// Any algorithm, before one is chosen.
const NONE: sys::cudnnConvolutionFwdAlgo_t =
    sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;
