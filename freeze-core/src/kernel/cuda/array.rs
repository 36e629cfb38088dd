//! Storages on a card as arrays that kernels read and write.

use std::marker::PhantomData;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};

use crate::kernel::on_cards;

/// Contiguous elements on a card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Array<'a> {
    pub(super) address: u64,
    pub(crate) len: usize,
    pub(crate) dtype: DType,
    borrowed: PhantomData<&'a CudaStorage>,
}

impl<'a> Array<'a> {
    /// All elements of a storage.
    pub(crate) fn whole(storage: &'a CudaStorage) -> Result<Self> {
        let (address, len) = place(storage)?;
        Ok(Self { address, len, dtype: storage.dtype(), borrowed: PhantomData })
    }

    /// The elements from `start` to `end`.
    pub(crate) fn part(self, start: usize, end: usize) -> Result<Self> {
        if start > end || end > self.len {
            bail!("elements {start} to {end} of an array of {}", self.len)
        }
        let address = self.address + (start * self.dtype.size_in_bytes()) as u64;
        Ok(Self { address, len: end - start, ..self })
    }

    /// The same bytes as elements of a type no larger.
    pub(super) fn counted_as(self, dtype: DType) -> Result<Self> {
        let (own, size) = (self.dtype.size_in_bytes(), dtype.size_in_bytes());
        match size > 0 && own.is_multiple_of(size) {
            true => Ok(Self { len: self.len * own / size, dtype, ..self }),
            false => bail!("{:?} counted as {dtype:?}", self.dtype),
        }
    }

    /// The same bits as numbers of 8 bytes, if each `row` elements are some of them, to copy more at a time.
    pub(super) fn in_f64(self, row: usize) -> Option<Self> {
        let size = self.dtype.size_in_bytes();
        let eights = (row * size).is_multiple_of(8) && self.address.is_multiple_of(8);
        let fits = eights && self.len.is_multiple_of(row);
        fits.then(|| Self { len: self.len * size / 8, dtype: DType::F64, ..self })
    }
}

/// An operand of an operation.
pub(crate) fn operand<'a>((storage, layout): (&'a CudaStorage, &Layout)) -> Result<Array<'a>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Array::whole(storage)?.part(start, end),
        None => bail!("expected a contiguous tensor"),
    }
}

/// The elements of a storage from the first one of an operand on, which need not be contiguous.
pub(crate) fn from_first<'a>((storage, layout): (&'a CudaStorage, &Layout)) -> Result<Array<'a>> {
    let all = Array::whole(storage)?;
    all.part(layout.start_offset(), all.len)
}

/// The storage of a tensor on a card.
pub(crate) fn of_card(storage: &Storage) -> Result<&CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => bail!("expected a tensor on a card"),
    }
}

/// A tensor on a card, and the card.
pub(crate) fn placed<'a>(
    storage: &'a Storage,
    layout: &Layout,
) -> Result<(&'a CudaDevice, Array<'a>)> {
    let storage = of_card(storage)?;
    Ok((&storage.device, operand((storage, layout))?))
}

/// Memory on the card, not yet written to: the caller has a kernel write all of it.
pub(crate) fn empty(device: &CudaDevice, len: usize, dtype: DType) -> Result<CudaStorage> {
    // SAFETY: every bit pattern is a number of any type, so that elements that no kernel wrote would be wrong, and
    // no more.
    #[allow(unsafe_code)]
    unsafe {
        device.alloc_uninit(&Shape::from(len), dtype)
    }
}

/// Runs `run` on tensors of one card, copied if they are not contiguous.
pub(crate) fn on_card<const N: usize, R>(
    tensors: [&Tensor; N],
    run: impl FnOnce(&CudaDevice, [Array<'_>; N]) -> Result<R>,
) -> Result<R> {
    let mut whole = Vec::with_capacity(N);
    for tensor in tensors {
        whole.push(tensor.contiguous()?);
    }
    let held: Vec<_> = whole.iter().map(Tensor::storage_and_layout).collect();
    let mut arrays = Vec::with_capacity(N);
    let mut device = None;
    for (storage, layout) in &held {
        let (own, array) = placed(storage, layout)?;
        arrays.push(array);
        match device {
            None => device = Some(own),
            Some(first) if own.same_device(first) => {}
            Some(_) => bail!("expected tensors on one card"),
        }
    }
    match (device, arrays.try_into()) {
        (Some(device), Ok(arrays)) => run(device, arrays),
        _ => bail!("expected a tensor on a card"),
    }
}

/// Whether a tensor is on a card, and of a type that [`Array`]s have.
pub(crate) fn takes(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && on_cards(tensor.dtype())
}

/// A storage as a tensor, outside of any graph.
pub(crate) fn tensor(storage: CudaStorage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// The address of the first element, and how many there are.
fn place(storage: &CudaStorage) -> Result<(u64, usize)> {
    fn of<T>(slice: &CudaSlice<T>) -> (u64, usize) {
        let (address, _read) = slice.device_ptr(slice.stream());
        (address, slice.len())
    }
    Ok(match &storage.slice {
        CudaStorageSlice::U8(slice) => of(slice),
        CudaStorageSlice::U32(slice) => of(slice),
        CudaStorageSlice::I64(slice) => of(slice),
        CudaStorageSlice::BF16(slice) => of(slice),
        CudaStorageSlice::F16(slice) => of(slice),
        CudaStorageSlice::F32(slice) => of(slice),
        CudaStorageSlice::F64(slice) => of(slice),
        _ => bail!("{:?} has no kernels here", storage.dtype()),
    })
}
