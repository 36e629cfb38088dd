//! Rows of a few tensors, in blocks of memory on a card.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::cache::store::Budget;
use crate::error::Result;

/// The size of the first block in bytes.
const BLOCK: usize = 1 << 20;
/// The most elements of a block: candle's kernels count them in 32 bits.
const ELEMENTS: usize = i32::MAX as usize;

/// Rows of a few tensors, each of which has the rows of one tensor. All are in one block while the budget has room
/// for one twice as large beside it, to copy them; then in a few, since a batch takes a launch for each.
#[derive(Debug)]
pub(super) struct Slab {
    budget: Arc<Budget>,
    device: Device,
    /// The element type of each tensor, and the number of elements of a row.
    parts: Vec<(DType, usize)>,
    width: usize,
    blocks: Vec<Block>,
    /// Rows of earlier records, in order, so that neighbours are handed out together.
    free: BTreeSet<u32>,
    /// The first row that was never handed out.
    next: u32,
}

#[derive(Debug)]
struct Block {
    /// The number of its first row.
    first: usize,
    rows: usize,
    tensors: Vec<Tensor>,
}

impl Slab {
    /// An empty slab for rows of these tensors; `None` if a row has more elements than can be counted.
    pub(super) fn new(budget: Arc<Budget>, tensors: &[Tensor]) -> Result<Option<Self>> {
        let (parts, Some(first)) = (parts(tensors), tensors.first()) else { return Ok(None) };
        let width: usize = parts.iter().map(|(dtype, len)| dtype.size_in_bytes() * len).sum();
        if width == 0 || parts.iter().any(|(_, len)| *len > ELEMENTS) {
            return Ok(None);
        }
        let (blocks, free) = (Vec::new(), BTreeSet::new());
        Ok(Some(Self {
            budget,
            device: first.device().clone(),
            parts,
            width,
            blocks,
            free,
            next: 0,
        }))
    }

    pub(super) fn is_for(&self, tensors: &[Tensor]) -> bool {
        let is_here = |tensor: &Tensor| tensor.device().same_device(&self.device);
        parts(tensors) == self.parts && tensors.iter().all(is_here)
    }

    /// The number of bytes of a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether no row is in use.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.next as usize
    }

    /// Whether it has bytes of the budget.
    pub(super) fn has_memory(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Makes room for `wanted` more rows, or as many as the budget allows. `false` if the card has no memory for
    /// that, which is traced.
    pub(super) fn grow(&mut self, wanted: usize, is_full: bool) -> Result<bool> {
        let room = self.free.len() + self.rows() - self.next as usize;
        if wanted <= room || is_full {
            return Ok(true);
        }
        let lacking = (wanted - room).max(self.rows()).max(BLOCK / self.width);
        let most = self.parts.iter().map(|(_, len)| ELEMENTS / len).min().unwrap_or(0);
        let whole = self.rows() + lacking;
        if self.blocks.len() == 1 && whole <= most && self.budget.take_all(whole, self.width) {
            let Some(block) = self.block(0, whole) else { return Ok(false) };
            for (to, from) in block.tensors.iter().zip(&self.blocks[0].tensors) {
                to.slice_set(from, 0, 0)?;
            }
            self.budget.give_back((self.rows() * self.width) as u64);
            self.blocks = vec![block];
            return Ok(true);
        }
        let taken = self.budget.take(lacking.min(most), self.width);
        if taken > 0 {
            let Some(block) = self.block(self.rows(), taken) else { return Ok(false) };
            self.blocks.push(block);
        }
        Ok(true)
    }

    /// A row that is not in use, if there is room.
    pub(super) fn hand_out(&mut self) -> Option<u32> {
        if let Some(row) = self.free.pop_first() {
            return Some(row);
        }
        let row = self.next;
        ((row as usize) < self.rows()).then(|| {
            self.next += 1;
            row
        })
    }

    /// Makes a row free for another record.
    pub(super) fn free(&mut self, row: u32) {
        self.free.insert(row);
    }

    /// Writes rows of `tensors`, those at `from`, to `rows`; neighbours at once.
    pub(super) fn write(&self, from: &[u32], rows: &[u32], tensors: &[Tensor]) -> Result<()> {
        let pairs: Vec<(u32, u32)> = from.iter().copied().zip(rows.iter().copied()).collect();
        let mut parts = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            parts.push(tensor.detach().flatten_from(1)?.contiguous()?);
        }
        for block in &self.blocks {
            let inside: Vec<_> = pairs.iter().filter(|(_, row)| block.has(*row)).copied().collect();
            for run in inside.chunk_by(|a, b| a.0 + 1 == b.0 && a.1 + 1 == b.1) {
                let (from, row) = run[0];
                for (part, to) in parts.iter().zip(&block.tensors) {
                    let part = part.narrow(0, from as usize, run.len())?;
                    to.slice_set(&part, 0, row as usize - block.first)?;
                }
            }
        }
        Ok(())
    }

    /// Copies of `rows`, in their order.
    pub(super) fn read(&self, rows: &[u32]) -> Result<Vec<Tensor>> {
        let (mut read, mut order): (Vec<Vec<Tensor>>, Vec<u32>) = (Vec::new(), Vec::new());
        for block in &self.blocks {
            let inside = (0..).zip(rows).filter(|(_, row)| block.has(**row));
            let (places, rows): (Vec<u32>, Vec<u32>) =
                inside.map(|(i, &row)| (i, row - block.first as u32)).unzip();
            if !rows.is_empty() {
                order.extend(places);
                let rows = Tensor::new(rows, &self.device)?;
                let of = |tensor: &Tensor| tensor.index_select(&rows, 0);
                read.push(block.tensors.iter().map(of).collect::<candle_core::Result<_>>()?);
            }
        }
        if let [_] = &read[..] {
            return Ok(read.remove(0));
        }
        let mut place = vec![0u32; order.len()];
        (0..).zip(&order).for_each(|(at, &i)| place[i as usize] = at);
        let place = Tensor::new(place, &self.device)?;
        let whole = |part: usize| -> Result<Tensor> {
            let pieces: Vec<&Tensor> = read.iter().map(|tensors| &tensors[part]).collect();
            Ok(Tensor::cat(&pieces, 0)?.index_select(&place, 0)?)
        };
        (0..self.parts.len()).map(whole).collect()
    }

    fn rows(&self) -> usize {
        self.blocks.last().map_or(0, |last| last.first + last.rows)
    }

    /// A block of rows that were taken from the budget; `None`, and they are given back, if the card has no room.
    fn block(&self, first: usize, rows: usize) -> Option<Block> {
        let made =
            |(dtype, len): &(DType, usize)| Tensor::zeros((rows, *len), *dtype, &self.device);
        match self.parts.iter().map(made).collect::<candle_core::Result<_>>() {
            Ok(tensors) => Some(Block { first, rows, tensors }),
            Err(error) => {
                self.budget.give_back((rows * self.width) as u64);
                tracing::warn!(%error, "the card has no room for more samples: they go to the host");
                None
            }
        }
    }
}

impl Block {
    fn has(&self, row: u32) -> bool {
        (self.first..self.first + self.rows).contains(&(row as usize))
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.budget.give_back((self.rows() * self.width) as u64);
    }
}

fn parts(tensors: &[Tensor]) -> Vec<(DType, usize)> {
    let part = |tensor: &Tensor| (tensor.dtype(), tensor.dims().iter().skip(1).product());
    tensors.iter().map(part).collect()
}
