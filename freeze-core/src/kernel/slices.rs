//! candle's storages as slices, and slices as tensors.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, DType, Device, Error, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::{Element, Real, reading, real_dtype};

/// The elements in the order of the layout. They are copied only if they are not contiguous, or if
/// halves are requested in the type of their arithmetic.
pub(crate) fn read<'a, T: Element>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<Cow<'a, [T]>> {
    let dtype = storage.dtype();
    if dtype != T::DTYPE && real_dtype(dtype) != Some(T::DTYPE) {
        bail!("expected {:?} values, found {dtype:?}", T::DTYPE)
    }
    match (span(layout), storage.as_slice::<T>()) {
        (Some(span), Ok(elements)) => Ok(Cow::Borrowed(&elements[span])),
        _ => T::cpu_storage_data(storage.to_dtype(layout, T::DTYPE)?).map(Cow::Owned),
    }
}

/// Whether the elements of each row, along the last dimension, are neighbours, and rows do not overlap.
pub(crate) fn rows_are_whole(layout: &Layout) -> bool {
    match (layout.dims(), layout.stride()) {
        ([.., rows, columns], [.., row, column]) => {
            (*columns <= 1 || *column == 1) && (*rows <= 1 || row >= columns)
        }
        _ => false,
    }
}

/// As [`read`], where rows, the elements along the last dimension, may lie apart: the elements from the first one on,
/// and the steps along each dimension. Copied is only what has no whole rows, and halves.
pub(crate) fn read_rows<'a, T: Element>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<(Cow<'a, [T]>, Vec<usize>)> {
    let (whole, steps) = (rows_are_whole(layout), layout.stride());
    match storage.as_slice::<T>() {
        Ok(elements) if whole && layout.shape().elem_count() > 0 => {
            Ok((Cow::Borrowed(&elements[layout.start_offset()..]), steps.to_vec()))
        }
        _ => Ok((read(storage, layout)?, Layout::contiguous(layout.shape()).stride().to_vec())),
    }
}

/// The elements of a contiguous tensor, mutable; errors call it `what`.
pub(crate) fn read_mut<'a, T: Element>(
    what: &str,
    (storage, layout): (&'a mut CpuStorage, &Layout),
) -> Result<&'a mut [T]> {
    let elements = T::slice_mut(storage)?;
    match span(layout).and_then(|span| elements.get_mut(span)) {
        Some(elements) => Ok(elements),
        None => bail!("the {what} is not contiguous"),
    }
}

/// Passes a CPU tensor's elements to `f`.
pub(crate) fn with<T: Element, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    with_all([tensor], |[a]| f(a))
}

/// As [`with`], of what [`read_rows`] finds.
pub(crate) fn with_rows<T: Element, R>(
    tensor: &Tensor,
    f: impl FnOnce(&[T], &[usize]) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let (values, steps) = read_rows(cpu(&storage)?, layout)?;
    f(&values, &steps)
}

fn on_cpu<'a, T: Element>(storage: &'a Storage, layout: &Layout) -> Result<Cow<'a, [T]>> {
    read(cpu(storage)?, layout)
}

fn cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => bail!("expected a tensor on the cpu; move all operands to one device"),
    }
}

/// As [`with`] for two tensors.
pub(crate) fn with2<T: Element, R>(
    tensors: [&Tensor; 2],
    f: impl FnOnce(&[T], &[T]) -> Result<R>,
) -> Result<R> {
    with_all(tensors, |[a, b]| f(a, b))
}

/// As [`with`] for three tensors.
pub(crate) fn with3<T: Element, R>(
    tensors: [&Tensor; 3],
    f: impl FnOnce(&[T], &[T], &[T]) -> Result<R>,
) -> Result<R> {
    with_all(tensors, |[a, b, c]| f(a, b, c))
}

fn with_all<T: Element, R, const N: usize>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[T]; N]) -> Result<R>,
) -> Result<R> {
    let (mut f, mut found) = (Some(f), None);
    lend(tensors, &mut |elements| {
        if let Some(f) = f.take() {
            found = Some(f(elements));
        }
    })?;
    match found {
        Some(found) => found,
        None => Err(unread()),
    }
}

#[cold]
fn unread() -> Error {
    Error::Msg("the elements were not read".into())
}

/// Apart from [`with_all`], because it is the same for all that is done with elements of a type.
fn lend<T: Element, const N: usize>(
    tensors: [&Tensor; N],
    take: &mut dyn FnMut([&[T]; N]),
) -> Result<()> {
    let reading = reading(tensors);
    let mut read = [const { Cow::Borrowed(&[] as &[T]) }; N];
    for ((read, storage), tensor) in read.iter_mut().zip(reading.storages()).zip(tensors) {
        *read = on_cpu(storage, tensor.layout())?;
    }
    let mut elements = [&[][..]; N];
    for (elements, read) in elements.iter_mut().zip(&read) {
        *elements = read;
    }
    take(elements);
    Ok(())
}

/// A tensor on the CPU from numbers, without a copy unless `dtype` is a half.
pub(crate) fn tensor<T: Real>(
    numbers: Vec<T>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> Result<Tensor> {
    let shape = shape.into();
    match T::write(numbers, dtype) {
        CpuStorage::F16(elements) => Tensor::from_vec(elements, shape, &Device::Cpu),
        CpuStorage::BF16(elements) => Tensor::from_vec(elements, shape, &Device::Cpu),
        CpuStorage::F64(elements) => Tensor::from_vec(elements, shape, &Device::Cpu),
        CpuStorage::F32(elements) => Tensor::from_vec(elements, shape, &Device::Cpu),
        other => bail!("expected floating point values, found {:?}", other.dtype()),
    }
}

/// A scalar of the type and on the device of `like`. candle's functions that take a number in place of a tensor
/// are compiled for every type of elements wherever they are called.
pub(crate) fn number_like(number: f64, like: &Tensor) -> Result<Tensor> {
    Tensor::new(number, &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())
}

/// Has `write` overwrite the elements of a contiguous tensor on the CPU.
pub(crate) fn overwrite<T: Element>(
    tensor: &Tensor,
    write: impl Fn(&mut [T]) -> Result<()>,
) -> Result<()> {
    tensor.inplace_op1(&Overwrite(&|storage, layout| write(read_mut("tensor", (storage, layout))?)))
}

struct Overwrite<'a>(&'a dyn Fn(&mut CpuStorage, &Layout) -> Result<()>);

impl InplaceOp1 for Overwrite<'_> {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.0)(storage, layout)
    }
}

/// The range of a contiguous tensor's elements in its storage. For an empty tensor it is at the
/// front, because an empty view may begin after the end.
pub(crate) fn span(layout: &Layout) -> Option<Range<usize>> {
    match layout.shape().elem_count() {
        0 => Some(0..0),
        _ => layout.contiguous_offsets().map(|(start, end)| start..end),
    }
}
