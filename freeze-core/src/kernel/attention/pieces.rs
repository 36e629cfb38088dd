//! The pieces in which a card works on a call, so that the scores of one piece exist at a time.

use std::ops::Range;

use super::Sizes;

/// Queries of some heads: all of them, or some of a single head's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Counted over all batches.
    pub(crate) heads: Range<usize>,
    pub(crate) queries: Range<usize>,
}

impl Piece {
    /// The pieces of a call, in the order of their rows, each of at most `scores` scores where a row has no more.
    /// Query heads that share a key head are in one piece if they fit.
    pub(crate) fn all(sizes: &Sizes, scores: usize) -> Vec<Self> {
        let &Sizes { batch, queries, keys, .. } = sizes;
        let (group, of_head, all) = (sizes.group(), queries * keys, batch * sizes.heads);
        let ranges = |end: usize, by: usize| {
            (0..end).step_by(by).map(move |start| start..end.min(start + by))
        };
        if group * of_head <= scores {
            let by = (scores / (group * of_head).max(1)).saturating_mul(group).min(all);
            let pieces = ranges(all, by.max(1));
            return pieces.map(|heads| Self { heads, queries: 0..queries }).collect();
        }
        let rows = match (scores / keys.max(1)).min(queries) {
            // So that each piece begins at an address that cards like.
            many @ 8.. if many < queries => many / 8 * 8,
            few => few.max(1),
        };
        ranges(all, 1)
            .flat_map(|heads| {
                ranges(queries, rows).map(move |queries| Self { heads: heads.clone(), queries })
            })
            .collect()
    }

    /// How many neighbouring heads share a key head within the piece: all that do, or one alone.
    pub(crate) fn members(&self, sizes: &Sizes) -> usize {
        if self.heads.len() == 1 { 1 } else { sizes.group() }
    }

    /// Whether no piece before it has the same key heads.
    pub(crate) fn is_first(&self, sizes: &Sizes) -> bool {
        self.heads.start.is_multiple_of(sizes.group()) && self.queries.start == 0
    }

    /// Its first row of all `batch * heads * queries`; the others follow.
    pub(crate) fn row(&self, sizes: &Sizes) -> usize {
        self.heads.start * sizes.queries + self.queries.start
    }

    pub(crate) fn rows(&self) -> usize {
        self.heads.len() * self.queries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(batch: usize, [heads, key_heads]: [usize; 2], [queries, keys]: [usize; 2]) -> Sizes {
        Sizes { batch, heads, key_heads, queries, keys, inner: 1, width: 1 }
    }

    #[test]
    fn every_row_is_in_one_piece_and_in_order() {
        for batch in [1, 3] {
            for heads in [[1, 1], [4, 4], [6, 2], [6, 1]] {
                for lengths in [[1, 1], [5, 7], [7, 1], [1, 9]] {
                    for scores in [1, 6, 7, 8, 35, 36, 69, 70, 140, 209, 210, 1 << 20] {
                        let sizes = sizes(batch, heads, lengths);
                        let pieces = Piece::all(&sizes, scores);
                        let mut row = 0;
                        let mut begun = Vec::new();
                        for piece in &pieces {
                            assert_eq!(piece.row(&sizes), row, "{sizes:?} {scores}: {pieces:?}");
                            let most = scores.max(sizes.keys);
                            assert!(
                                piece.rows() * sizes.keys <= most,
                                "{sizes:?} {scores}: {pieces:?}"
                            );
                            row += piece.rows();
                            let whole = piece.queries == (0..sizes.queries);
                            assert!(whole || piece.heads.len() == 1);
                            let members = piece.members(&sizes);
                            assert!(members == 1 || members == sizes.group() && whole);
                            assert_eq!(piece.heads.len() % members, 0);
                            let keys = piece.heads.clone().map(|head| head / sizes.group());
                            for key_head in keys.step_by(members) {
                                let first = !begun.contains(&key_head);
                                assert_eq!(piece.is_first(&sizes), first, "{pieces:?}");
                                begun.push(key_head);
                            }
                        }
                        assert_eq!(row, batch * heads[0] * lengths[0]);
                    }
                }
            }
        }
        // As many as fit.
        assert_eq!(Piece::all(&sizes(4, [2, 1], [5, 7]), 140).len(), 4 / 2);
        assert_eq!(Piece::all(&sizes(1, [1, 1], [5, 7]), 14).len(), 3);
    }
}
