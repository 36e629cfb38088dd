//! Rows of a table by their numbers, and the sum of gradients where they came from.

use super::pieces::MAP;
use super::{Element, copy_rows};

/// The rows of a table of rows of `len` elements; `None` is a row of zeros.
pub(crate) fn gather<T: Element>(table: &[T], rows: &[Option<usize>], len: usize) -> Vec<T> {
    copy_rows(rows.len() * len, len, &|place, out| {
        if let Some(row) = rows[place] {
            out.copy_from_slice(&table[row * len..][..len]);
        }
    })
}

/// The table's gradient: for each of its `entries` the sum of the gradients of the places that it went to,
/// in their order and in `f64`. Nothing is written of other rows.
pub(crate) fn scatter<T: Element>(
    grad: &[T],
    rows: &[Option<usize>],
    len: usize,
    entries: usize,
) -> Vec<T> {
    let mut sums = vec![T::from_f64(0.0); entries * len];
    let mut places: Vec<(usize, usize)> =
        rows.iter().enumerate().filter_map(|(place, row)| Some(((*row)?, place))).collect();
    places.sort_unstable();
    // Each row that occurs, with its places.
    let (mut each, mut rest, mut first) = (Vec::new(), &mut sums[..], 0);
    for places in places.chunk_by(|a, b| a.0 == b.0) {
        let row = places[0].0;
        let (sum, after) = rest.split_at_mut((row + 1 - first) * len);
        each.push((&mut sum[(row - first) * len..], places));
        (rest, first) = (after, row + 1);
    }
    let grain = (MAP.grain / len.max(1)).max(1);
    MAP.each(
        grad.len(),
        each.chunks_mut(grain),
        #[inline(always)]
        |rows| {
            let mut total = vec![0.0; len];
            for (sum, places) in rows {
                total.fill(0.0);
                for (_, place) in *places {
                    let grad = &grad[place * len..][..len];
                    total.iter_mut().zip(grad).for_each(|(total, g)| *total += g.to_f64());
                }
                sum.iter_mut().zip(&total).for_each(|(sum, &total)| *sum = T::from_f64(total));
            }
        },
    );
    sums
}
