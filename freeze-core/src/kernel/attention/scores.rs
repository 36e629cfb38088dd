//! The scores of a block: products of queries and keys, with the mask applied.

use std::ops::Range;

use super::{KEYS, QUERIES};
use crate::kernel::{Drops, Matrix, Real, Threads};

/// The sizes of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    /// Heads of the queries, a multiple of those of the keys and values.
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// Elements of a query and of a key.
    pub(crate) inner: usize,
    /// Elements of a value.
    pub(crate) width: usize,
}

impl Sizes {
    /// The shape of the result.
    pub(crate) fn result(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.width]
    }

    /// The multiplications of the forward.
    pub(crate) fn multiplications(&self) -> usize {
        self.scores().saturating_mul(self.inner + self.width)
    }

    pub(crate) fn scores(&self) -> usize {
        self.batch * self.heads * self.queries * self.keys
    }

    /// The number of query heads that share one key head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    /// The blocks of queries of a head.
    pub(super) fn query_blocks(&self) -> impl Iterator<Item = Range<usize>> + Clone {
        blocks(self.queries, QUERIES)
    }
}

/// `0..len` in ranges of `size`.
fn blocks(len: usize, size: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..len).step_by(size).map(move |start| start..len.min(start + size))
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    All,
    /// Keys up to the query's own position, counted from the last query and the last key.
    Causal,
}

/// The numbers added to the scores: a row for each query, which queries, heads and batches may
/// share.
#[derive(Clone, Copy)]
pub(crate) struct Bias<'a, T> {
    pub(crate) values: &'a [T],
    /// The steps from one batch, head and query to the next; 0 if they share rows.
    pub(crate) strides: [usize; 3],
}

/// The operands of a call, row by row.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a, T> {
    pub(crate) sizes: Sizes,
    /// `[batch, heads, queries, inner]`.
    pub(crate) q: &'a [T],
    /// `[batch, key_heads, keys, inner]`.
    pub(crate) k: &'a [T],
    /// `[batch, key_heads, keys, width]`.
    pub(crate) v: &'a [T],
    pub(crate) scale: f64,
    pub(crate) sight: Sight,
    pub(crate) bias: Option<Bias<'a, T>>,
    /// Which probabilities are kept, over `[batch, heads, queries, keys]`.
    pub(crate) drops: Option<Drops>,
}

/// A block of scores: queries of one head, counted over all batches, and keys.
pub(super) struct Place {
    pub(super) head: usize,
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
}

impl<'a, T: Real> Call<'a, T> {
    /// The blocks of keys in which at least one of the queries sees a key.
    pub(super) fn key_blocks(&self, queries: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let seen = match queries.len() {
            0 => 0,
            _ => self.seen(queries.end - 1),
        };
        blocks(seen, KEYS)
    }

    /// How many keys a query sees.
    fn seen(&self, query: usize) -> usize {
        let Sizes { queries, keys, .. } = self.sizes;
        match self.sight {
            Sight::All => keys,
            Sight::Causal => (query + 1 + keys).saturating_sub(queries).min(keys),
        }
    }

    /// The keys and the values of a block.
    pub(super) fn keys_and_values(&self, place: &Place) -> [&'a [T]; 2] {
        let Sizes { heads, key_heads, keys, inner, width, .. } = self.sizes;
        let (batch, head) = (place.head / heads, place.head % heads / self.sizes.group());
        let first = (batch * key_heads + head) * keys + place.keys.start;
        let part = |all: &'a [T], len| &all[first * len..(first + place.keys.len()) * len];
        [part(self.k, inner), part(self.v, width)]
    }

    /// Queries of a head, scaled.
    pub(super) fn load(&self, head: usize, queries: &Range<usize>, to: &mut [T]) {
        let (first, scale) = (head * self.sizes.queries + queries.start, T::from_f64(self.scale));
        let from = &self.q[first * self.sizes.inner..];
        to.iter_mut().zip(from).for_each(|(to, &q)| *to = q * scale);
    }

    /// Writes the scores of a block; `q` are its loaded queries.
    pub(super) fn scores(&self, place: &Place, q: &[T], to: &mut [T]) {
        let (rows, columns, inner) = (place.queries.len(), place.keys.len(), self.sizes.inner);
        let [k, _] = self.keys_and_values(place);
        let k = Matrix::new(k, columns, inner).transposed();
        Matrix::new(q, rows, inner).times(k, to, false, Threads::One);
        for (query, row) in place.queries.clone().zip(to.chunks_exact_mut(columns)) {
            if let Some(Bias { values, strides: [batches, heads, queries] }) = self.bias {
                let (batch, head) = (place.head / self.sizes.heads, place.head % self.sizes.heads);
                let bias = &values[batch * batches + head * heads + query * queries..];
                row.iter_mut().zip(&bias[place.keys.clone()]).for_each(|(x, &bias)| *x += bias);
            }
            let seen = self.seen(query).saturating_sub(place.keys.start).min(columns);
            row[seen..].fill(T::from_f64(f64::NEG_INFINITY));
        }
    }

    /// Drops elements of a block, and scales those that are kept.
    pub(super) fn drop_out(&self, place: &Place, block: &mut [T]) {
        let Some(drops) = self.drops else { return };
        let Sizes { queries, keys, .. } = self.sizes;
        let (columns, scale) = (place.keys.len(), T::from_f64(drops.scale));
        let apply = |first: usize, values: &mut [T]| {
            for (x, kept) in values.iter_mut().zip(drops.kept(first)) {
                *x = if kept { *x * scale } else { T::ZERO };
            }
        };
        let first = |query: usize| (place.head * queries + query) * keys + place.keys.start;
        match columns == keys {
            true => apply(first(place.queries.start), block),
            false => {
                let rows = place.queries.clone().zip(block.chunks_exact_mut(columns));
                rows.for_each(|(query, row)| apply(first(query), row));
            }
        }
    }
}
