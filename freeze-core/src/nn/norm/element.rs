//! The element types of the kernels, and their slices of candle's storage.

use std::ops::Range;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, WithDType};
use half::{bf16, f16};

use super::exp::exp_f32;

/// A type that tensors are stored in, with the type that its arithmetic runs in.
pub(crate) trait Element: WithDType {
    type Real: Real;

    fn up(self) -> Self::Real;
    fn down(real: Self::Real) -> Self;
}

/// A type that arithmetic runs in.
pub(crate) trait Real: WithDType + Element<Real = Self> {
    const ZERO: Self;

    /// `e^x` for `x` of at most 0.
    fn exp_of_negative(self) -> Self;
}

macro_rules! real {
    ($($real:ty, $exp:path);+) => {$(
        impl Element for $real {
            type Real = Self;

            #[inline(always)]
            fn up(self) -> Self {
                self
            }

            #[inline(always)]
            fn down(real: Self) -> Self {
                real
            }
        }

        impl Real for $real {
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn exp_of_negative(self) -> Self {
                $exp(self)
            }
        }
    )+};
}

macro_rules! half {
    ($($half:ty),+) => {$(
        impl Element for $half {
            type Real = f32;

            #[inline(always)]
            fn up(self) -> f32 {
                self.to_f32()
            }

            #[inline(always)]
            fn down(real: f32) -> Self {
                Self::from_f32(real)
            }
        }
    )+};
}

real!(f32, exp_f32; f64, f64::exp);
half!(f16, bf16);

/// Runs an expression with `$T` standing for the element type of `$dtype`.
macro_rules! by_dtype {
    ($dtype:expr, $op:expr, $T:ident => $run:expr) => {{
        use candle_core::DType;
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $run
            }
            DType::F64 => {
                type $T = f64;
                $run
            }
            DType::F16 => {
                type $T = half::f16;
                $run
            }
            DType::BF16 => {
                type $T = half::bf16;
                $run
            }
            dtype => Err(candle_core::Error::UnsupportedDTypeForOp(dtype, $op).bt()),
        }
    }};
}
pub(crate) use by_dtype;

/// The elements of a contiguous tensor on the CPU.
pub(crate) fn cpu_slice<'s, T: Element>(storage: &'s Storage, layout: &Layout) -> Result<&'s [T]> {
    match storage {
        Storage::Cpu(storage) => slice(storage, layout),
        _ => candle_core::bail!("the tensor is not on the cpu, where this kernel runs"),
    }
}

/// As [`cpu_slice`], inside an operation.
pub(crate) fn slice<'s, T: Element>(storage: &'s CpuStorage, layout: &Layout) -> Result<&'s [T]> {
    let all = storage.as_slice::<T>()?;
    match span(layout).and_then(|span| all.get(span)) {
        Some(elements) => Ok(elements),
        None => candle_core::bail!("the tensor is not contiguous; call `contiguous()` first"),
    }
}

/// Where the elements of a contiguous tensor lie in its storage. Nothing lies at the front: a view
/// without elements may begin behind the end.
pub(crate) fn span(layout: &Layout) -> Option<Range<usize>> {
    match layout.shape().elem_count() {
        0 => Some(0..0),
        _ => layout.contiguous_offsets().map(|(start, end)| start..end),
    }
}

/// The type that a composition of tensor operations computes in.
pub(crate) fn internal_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        dtype => dtype,
    }
}
