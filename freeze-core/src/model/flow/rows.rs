//! Samples as bytes.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::View as _;

use super::flat::{Flat, What, unlike};
use super::layout::{FlowLayout, Form};
use crate::error::Result;

/// The samples of a batch, each a row of [`FlowLayout::width`] bytes, exact and in this machine's
/// byte order.
#[derive(Clone, Debug)]
pub struct FlowRows {
    layout: FlowLayout,
    len: usize,
    bytes: Vec<u8>,
}

impl FlowRows {
    pub(super) fn of(flat: &Flat) -> Result<Self> {
        let (layout, len) = (FlowLayout::of(flat)?, flat.batch()?);
        let width = layout.width();
        let mut bytes = Vec::new();
        let mut at = 0;
        for tensor in flat.tensors() {
            let tensor = tensor.detach().to_device(&Device::Cpu)?.flatten_all()?.contiguous()?;
            let part = tensor.data();
            if part.len() == len * width {
                bytes = part.into_owned(); // the one part that has any bytes
                break;
            }
            bytes.resize(len * width, 0);
            // Without rows the batch is empty; with a width of 0 the part has no elements.
            let part_width = part.len().checked_div(len).unwrap_or(0);
            if part_width > 0 {
                let rows = bytes.chunks_exact_mut(width).zip(part.chunks_exact(part_width));
                rows.for_each(|(row, part)| row[at..at + part_width].copy_from_slice(part));
            }
            at += part_width;
        }
        Ok(Self { layout, len, bytes })
    }

    /// Rows from their bytes, one behind the other: the inverse of [`as_bytes`](Self::as_bytes).
    ///
    /// # Errors
    ///
    /// `bytes` does not have the length of `len` rows of the layout's width.
    pub fn new(layout: FlowLayout, len: usize, bytes: Vec<u8>) -> Result<Self> {
        if layout.width().checked_mul(len) != Some(bytes.len()) {
            let (width, found) = (layout.width(), bytes.len());
            let why = format!("expected {len} samples of {width} bytes each, found {found} bytes");
            return Err(unlike(String::new(), why));
        }
        Ok(Self { layout, len, bytes })
    }

    /// The bytes of all rows, one behind the other.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The layout of a row.
    pub fn layout(&self) -> &FlowLayout {
        &self.layout
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of the sample at `index` in the batch.
    ///
    /// # Panics
    ///
    /// There is no such sample.
    pub fn row(&self, index: usize) -> &[u8] {
        assert!(index < self.len, "row {index} of {}", self.len);
        let width = self.layout.width();
        &self.bytes[index * width..(index + 1) * width]
    }

    /// Every sample's bytes in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len).map(|index| self.row(index))
    }
}

/// Builds the flow whose samples the rows are.
pub(super) fn whole(rows: &FlowRows, device: &Device) -> Result<Flat> {
    if let [part] = rows.layout.parts()
        && let Form::Tensor { dtype, shape } = &part.form
    {
        let mut flat = Flat::default();
        flat.push(part.name.clone(), made(&rows.bytes, rows.len, (*dtype, shape), device)?);
        return Ok(flat);
    }
    flat(&rows.layout, &rows.iter().collect::<Vec<_>>(), device)
}

fn made(
    bytes: &[u8],
    len: usize,
    (dtype, shape): (DType, &[usize]),
    device: &Device,
) -> Result<What> {
    let shape: Vec<usize> = [len].into_iter().chain(shape.iter().copied()).collect();
    Ok(What::Tensor(Tensor::from_raw_buffer(bytes, dtype, &shape, device)?))
}

/// As [`whole`], for rows that are not in one piece.
pub(super) fn flat(layout: &FlowLayout, rows: &[&[u8]], device: &Device) -> Result<Flat> {
    let width = layout.width();
    if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != width) {
        let why = format!("row {i} has {} bytes, the layout {width} for each sample", row.len());
        return Err(unlike(String::new(), why));
    }
    let mut flat = Flat::default();
    let mut at = 0;
    for part in layout.parts() {
        let what = match &part.form {
            Form::Count(count) => What::Count(*count),
            Form::Tensor { dtype, shape } => {
                let end = at + part.form.width().unwrap_or(0);
                let mut bytes = Vec::with_capacity(rows.len() * (end - at));
                rows.iter().for_each(|row| bytes.extend_from_slice(&row[at..end]));
                at = end;
                made(&bytes, rows.len(), (*dtype, shape), device)?
            }
        };
        flat.push(part.name.clone(), what);
    }
    Ok(flat)
}
