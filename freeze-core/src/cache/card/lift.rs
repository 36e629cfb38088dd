//! Records on their way to a card: from memory that it copies from by itself, on a thread, and so a stream, of their own.

use candle_core::Device;
#[cfg(feature = "cuda")]
use candle_core::{CudaDevice, DType, Result, Tensor};

use crate::cache::store::Lift;
#[cfg(feature = "cuda")]
use crate::kernel::{
    cuda::{Part, Staging},
    on_cards,
};
use crate::model::FlowLayout;

/// What makes tensors on a card of rows of this layout, with `tail` bytes behind each; `None` for other devices, and for
/// types that have no kernels there.
#[cfg(feature = "cuda")]
pub(in crate::cache) fn lift(layout: &FlowLayout, tail: usize, device: &Device) -> Option<Lift> {
    use std::sync::{Arc, Mutex, PoisonError};

    let Device::Cuda(card) = device else { return None };
    let (card, parts, stride) = (card.clone(), layout.tensors(), layout.width() + tail);
    if parts.is_empty() || parts.iter().any(|(dtype, len)| *len == 0 || !on_cards(*dtype)) {
        return None;
    }
    let staging = Mutex::new(None);
    Some(Lift(Arc::new(move |rows: &[u8]| {
        let mut staging = staging.lock().unwrap_or_else(PoisonError::into_inner);
        lifted(&card, &parts, (rows, stride), &mut staging)
    })))
}

#[cfg(not(feature = "cuda"))]
pub(in crate::cache) fn lift(_: &FlowLayout, _: usize, _: &Device) -> Option<Lift> {
    None
}

/// Tensors with these numbers of elements of the rows, which begin with their bytes and are `stride` bytes apart.
#[cfg(feature = "cuda")]
fn lifted(
    card: &CudaDevice,
    parts: &[(DType, usize)],
    (rows, stride): (&[u8], usize),
    kept: &mut Option<Staging>,
) -> Result<Vec<Tensor>> {
    let n = rows.len() / stride;
    let width = |(dtype, len): &(DType, usize)| dtype.size_in_bytes() * len;
    let all = n * parts.iter().map(width).sum::<usize>();
    let staging = match kept.take() {
        Some(large) if large.len() >= all => kept.insert(large),
        _ => kept.insert(Staging::new(card, all)?),
    };
    let (mut at, mut start, mut wanted) = (0, 0, Vec::with_capacity(parts.len()));
    let bytes = staging.as_mut_slice()?;
    for part in parts {
        let (end, width) = (at + n * width(part), width(part));
        for (to, row) in bytes[at..end].chunks_exact_mut(width).zip(rows.chunks_exact(stride)) {
            to.copy_from_slice(&row[start..start + width]);
        }
        wanted.push(Part { at, dtype: part.0, shape: (n, part.1) });
        (at, start) = (end, start + width);
    }
    let copied = staging.copied(card, &wanted);
    if copied.is_err() {
        *kept = None;
    }
    copied
}
