//! The scores of a block: products of queries and keys, with the mask applied.

use std::ops::Range;

use super::heads::{Heads, Order};
use super::{KEYS, QUERIES};
use crate::kernel::{Drops, Matrix, Real, Threads, wide};

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
    /// The heads, rows and row's elements of queries, keys and values.
    pub(crate) fn operands(&self) -> [[usize; 3]; 3] {
        let Self { heads, key_heads, queries, keys, inner, width, .. } = *self;
        [[heads, queries, inner], [key_heads, keys, inner], [key_heads, keys, width]]
    }

    /// The same of the result.
    pub(crate) fn result(&self) -> [usize; 3] {
        [self.heads, self.queries, self.width]
    }

    /// The multiplications of the forward.
    pub(crate) fn multiplications(&self) -> usize {
        self.scores().saturating_mul(self.inner + self.width)
    }

    pub(crate) fn scores(&self) -> usize {
        self.batch * self.heads * self.queries * self.keys
    }

    /// The number of query heads that share one key head.
    pub(crate) fn group(&self) -> usize {
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

/// The operands of a call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a, T> {
    pub(crate) sizes: Sizes,
    pub(crate) q: Heads<'a, T>,
    pub(crate) k: Heads<'a, T>,
    pub(crate) v: Heads<'a, T>,
    /// How the result lies.
    pub(crate) order: Order,
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

    /// The batch of a head, and which of its own it is.
    pub(super) fn of_batch(&self, head: usize) -> [usize; 2] {
        [head / self.sizes.heads, head % self.sizes.heads]
    }

    /// The keys and the values of a block.
    pub(super) fn keys_and_values(&self, place: &Place) -> [Matrix<'a, T>; 2] {
        let Sizes { inner, width, .. } = self.sizes;
        let [batch, head] = self.of_batch(place.head);
        let of_keys = |all: Heads<'a, T>, columns| {
            all.matrix([batch, head / self.sizes.group()], place.keys.clone(), columns)
        };
        [of_keys(self.k, inner), of_keys(self.v, width)]
    }

    /// Queries of a head, scaled.
    pub(super) fn load(&self, head: usize, queries: &Range<usize>, to: &mut [T]) {
        let (inner, scale) = (self.sizes.inner, T::from_f64(self.scale));
        let from = self.q.matrix(self.of_batch(head), queries.clone(), inner);
        for (row, to) in to.chunks_exact_mut(inner.max(1)).enumerate() {
            to.iter_mut().zip(from.row(row)).for_each(|(to, &q)| *to = q * scale);
        }
    }

    /// Writes the scores of a block; `q` are its loaded queries.
    pub(super) fn scores(&self, place: &Place, q: &[T], to: &mut [T]) {
        let (rows, columns, inner) = (place.queries.len(), place.keys.len(), self.sizes.inner);
        let [k, _] = self.keys_and_values(place);
        Matrix::new(q, rows, inner).times(k.transposed(), to, false, Threads::One);
        for (query, row) in place.queries.clone().zip(to.chunks_exact_mut(columns)) {
            if let Some(Bias { values, strides: [batches, heads, queries] }) = self.bias {
                let [batch, head] = self.of_batch(place.head);
                let bias = &values[batch * batches + head * heads + query * queries..];
                row.iter_mut().zip(&bias[place.keys.clone()]).for_each(|(x, &bias)| *x += bias);
            }
            let seen = self.seen(query).saturating_sub(place.keys.start).min(columns);
            row[seen..].fill(T::from_f64(f64::NEG_INFINITY));
        }
    }

    /// Writes which elements of a block are kept, if any are dropped.
    pub(super) fn draw(&self, place: &Place, kept: &mut [bool]) {
        let Some(drops) = self.drops else { return };
        let Sizes { queries, keys, .. } = self.sizes;
        let columns = place.keys.len();
        let first = |query: usize| (place.head * queries + query) * keys + place.keys.start;
        match columns == keys {
            true => drops.mark(first(place.queries.start), kept),
            false => {
                let rows = place.queries.clone().zip(kept.chunks_exact_mut(columns));
                rows.for_each(|(query, kept)| drops.mark(first(query), kept));
            }
        }
    }

    /// Drops elements of a block, and scales those that are kept.
    pub(super) fn drop_out(&self, kept: &[bool], block: &mut [T]) {
        let Some(drops) = self.drops else { return };
        let scale = T::from_f64(drops.scale);
        wide(
            #[inline(always)]
            || {
                for (x, &kept) in block.iter_mut().zip(kept) {
                    *x = if kept { *x * scale } else { T::ZERO };
                }
            },
        );
    }
}
