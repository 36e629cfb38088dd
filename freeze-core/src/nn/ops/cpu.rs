//! CPU storages as slices of the type that kernels compute in, and loops over them.

use std::borrow::Cow;

use candle_core::backend::BackendStorage;
use candle_core::op::{Erf, UnaryOpT};
use candle_core::{
    CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail,
};
use half::vec::HalfFloatVecExt;

use crate::nn::norm::{self, span};
use crate::threads;

/// Below this many elements a loop runs on one thread.
pub(crate) const PARALLEL_FROM: usize = 1 << 15;

/// The elements one thread takes at a time.
pub(crate) const GRAIN: usize = 1 << 13;

/// A type that kernels compute in: `f64` for itself, `f32` for itself and for the halves.
pub(crate) trait Real: norm::Real {
    /// The elements in the order of the layout; copied only if they are halves or not contiguous.
    fn read<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [Self]>>;

    /// Elements as a storage of `dtype`, which is this type or one of the halves.
    fn write(values: Vec<Self>, dtype: DType) -> CpuStorage;

    /// The error function.
    fn erf(self) -> Self;
}

impl Real for f32 {
    fn read<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [Self]>> {
        match storage {
            CpuStorage::F32(_) | CpuStorage::F16(_) | CpuStorage::BF16(_) => read(storage, layout),
            other => bail!("expected f32, f16 or bf16 values, found {:?}", other.dtype()),
        }
    }

    fn write(values: Vec<Self>, dtype: DType) -> CpuStorage {
        match dtype {
            DType::F16 => CpuStorage::F16(Vec::from_f32_slice(&values)),
            DType::BF16 => CpuStorage::BF16(Vec::from_f32_slice(&values)),
            _ => CpuStorage::F32(values),
        }
    }

    fn erf(self) -> Self {
        Erf::f32(self)
    }
}

impl Real for f64 {
    fn read<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [Self]>> {
        match storage {
            CpuStorage::F64(_) => read(storage, layout),
            other => bail!("expected f64 values, found {:?}", other.dtype()),
        }
    }

    fn write(values: Vec<Self>, _: DType) -> CpuStorage {
        CpuStorage::F64(values)
    }

    fn erf(self) -> Self {
        Erf::f64(self)
    }
}

/// Borrows what is contiguous and of the type, converts the rest.
fn read<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [T]>> {
    match (span(layout), storage.as_slice::<T>()) {
        (Some(span), Ok(values)) => Ok(Cow::Borrowed(&values[span])),
        _ => T::cpu_storage_data(storage.to_dtype(layout, T::DTYPE)?).map(Cow::Owned),
    }
}

/// Runs an expression with a type name bound to the type that computes for a dtype.
macro_rules! with_real {
    ($dtype:expr, $real:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F64 => {
                type $real = f64;
                $body
            }
            _ => {
                type $real = f32;
                $body
            }
        }
    };
}
pub(crate) use with_real;

/// Hands a CPU tensor's elements to `f`.
pub(crate) fn with<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(&T::read(storage, layout)?),
        _ => bail!("expected a tensor on the cpu; move all operands to one device"),
    }
}

/// A tensor on the CPU from elements, without a copy unless `dtype` is a half.
pub(crate) fn tensor<T: Real>(
    values: Vec<T>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> Result<Tensor> {
    let shape = shape.into();
    match T::write(values, dtype) {
        CpuStorage::F16(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        CpuStorage::BF16(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        CpuStorage::F64(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        CpuStorage::F32(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        other => bail!("expected floating point values, found {:?}", other.dtype()),
    }
}

/// `f(a)` for each element, in one pass.
pub(crate) fn map<T: WithDType>(a: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    zip_map(a, a, |a, _| f(a))
}

/// `f(a, b)` for each pair, in one pass.
pub(crate) fn zip_map<T: WithDType>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    if a.len() < PARALLEL_FROM {
        return a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
    }
    let mut out = vec![T::zero(); a.len()];
    let chunks = a.chunks(GRAIN).zip(b.chunks(GRAIN));
    threads::each(out.chunks_mut(GRAIN).zip(chunks), |(out, (a, b))| {
        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *out = f(a, b);
        }
    });
    out
}
