//! Products of many small matrices, wherever each of them lies, by cuBLAS.

use std::ffi::{c_int, c_void};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys;
use candle_core::cuda_backend::gemm_reduced_precision_f32;
use candle_core::{CudaDevice, DType, Error, Result, bail};

use super::Array;

/// Matrices of one size, by the addresses of their first elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrices<'a> {
    /// On the card.
    pub(crate) addresses: Array<'a>,
    pub(crate) dtype: DType,
    /// From one row to the next.
    pub(crate) apart: usize,
    /// Whether rows and columns are exchanged.
    pub(crate) turned: bool,
}

impl Matrices<'_> {
    pub(crate) fn turned(self) -> Self {
        Self { turned: !self.turned, ..self }
    }

    /// Of so many equal parts the first, or another.
    pub(crate) fn part(self, (part, parts): (usize, usize)) -> Result<Self> {
        let each = self.addresses.len / parts;
        let addresses = self.addresses.part(part * each, (part + 1) * each)?;
        Ok(Self { addresses, ..self })
    }
}

/// `c = scale * a b`, or this added to `c`, of each of the matrices: `a` is `[m, k]` and `b` `[k, n]` as they are when
/// turned, `c` is not turned, and may be f32 where `a` and `b` are halves. None of the sizes is 0. f32 is rounded to TF32
/// where that is allowed.
///
/// The caller must hand over addresses of matrices of these sizes, which nothing here can compare. Those of `a` and `b`
/// are multiples of 16 bytes if `k` elements are, or the card may fault.
///
/// # Errors
///
/// Numbers of matrices that differ, sizes beyond those that cuBLAS counts in 32 bits, or what it refuses.
pub(crate) fn products(
    device: &CudaDevice,
    sizes: [usize; 3],
    scale: f64,
    [a, b]: [Matrices<'_>; 2],
    (c, adds): (Matrices<'_>, bool),
) -> Result<()> {
    use sys::{cublasComputeType_t as by, cudaDataType_t as of};
    let count = c.addresses.len;
    let alike = |of: &Matrices<'_>| {
        of.addresses.len == count && of.addresses.dtype == DType::I64 && of.dtype == a.dtype
    };
    let result = Matrices { dtype: if c.dtype == DType::F32 { a.dtype } else { c.dtype }, ..c };
    if ![a, b, result].iter().all(alike) || c.turned || sizes.contains(&0) {
        bail!("products {sizes:?} of {a:?} and {b:?} to {c:?}")
    }
    let by = match a.dtype {
        DType::F32 if gemm_reduced_precision_f32() => by::CUBLAS_COMPUTE_32F_FAST_TF32,
        DType::F64 => by::CUBLAS_COMPUTE_64F,
        _ => by::CUBLAS_COMPUTE_32F,
    };
    let kind = |matrices: Matrices<'_>| match matrices.dtype {
        DType::F32 => Ok(of::CUDA_R_32F),
        DType::F64 => Ok(of::CUDA_R_64F),
        DType::F16 => Ok(of::CUDA_R_16F),
        DType::BF16 => Ok(of::CUDA_R_16BF),
        dtype => bail!("no products of {dtype:?}"),
    };
    let (from, to) = (kind(a)?, kind(c)?);
    let int = |size: usize| c_int::try_from(size).map_err(Error::wrap);
    let [m, n, k] = sizes;
    let (rows, columns, inner, count) = (int(n)?, int(m)?, int(k)?, int(count)?);
    let (a_apart, b_apart, c_apart) = (int(a.apart)?, int(b.apart)?, int(c.apart)?);
    let singles = [scale as f32, f32::from(adds)];
    let doubles = [scale, f64::from(adds)];
    let number = |place: usize| match a.dtype {
        DType::F64 => (&raw const doubles[place]).cast::<c_void>(),
        _ => (&raw const singles[place]).cast(),
    };
    let turn = |turned: bool| match turned {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    };
    let blas = device.cublas_handle();
    device.cuda_stream().context().bind_to_thread().w()?;
    // cuBLAS counts along columns first, for which a matrix here is a turned one: the product of these is `bᵀ aᵀ`.
    // SAFETY: the handle is there; as many addresses as are read were compared above, and the storage that holds them
    // is borrowed. What they point to is the caller's part, said in the documentation above.
    #[allow(unsafe_code)]
    let status = unsafe {
        sys::cublasGemmBatchedEx(
            *blas.handle(),
            turn(b.turned),
            turn(a.turned),
            rows,
            columns,
            inner,
            number(0),
            b.addresses.address as *const *const c_void,
            from,
            b_apart,
            a.addresses.address as *const *const c_void,
            from,
            a_apart,
            number(1),
            c.addresses.address as *const *mut c_void,
            to,
            c_apart,
            count,
            by,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    };
    status.result().map_err(Error::wrap)
}
