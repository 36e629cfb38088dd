//! Which stages of a chain to run again, so that its activations fit at the least time.
//!
//! The chain is cut into pieces: a stage whose activations are kept, or some stages that are run again
//! together. Held from forward to backward are the activations of what is kept and the output of each
//! piece that is run again; while such a piece runs again, a copy of its input and its activations come on
//! top. For each bound on the largest such piece the cheapest cuts are found by dynamic programming over
//! the pairs of bytes held and time that no other pair beats.

use std::ops::Range;

/// A chain of stages with their costs.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The bytes that each stage keeps for the backward, its output included.
    pub(super) kept: Vec<u64>,
    /// The bytes that flow into each stage, and out of the last.
    pub(super) flows: Vec<u64>,
    /// The time of each stage's forward.
    pub(super) times: Vec<f64>,
}

/// At most so many bounds are tried, and so many pairs kept at each stage: no limit for chains of up to 22
/// stages.
const BOUNDS: usize = 256;
const PAIRS: usize = 4096;

/// The least bytes with which the chain can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Least(pub(super) u64);

/// The bytes and the time of a cut up to a stage, and the last piece of it.
#[derive(Clone, Copy)]
struct Pair {
    held: u64,
    time: f64,
    piece: Piece,
    /// The place of the pair in front of the piece, among those of its first stage.
    before: usize,
}

#[derive(Clone, Copy)]
enum Piece {
    Kept,
    Again { first: usize },
}

impl Chain {
    /// The stages to run again, each range in one piece.
    pub(super) fn choose(&self, budget: u64) -> Result<Vec<Range<usize>>, Least> {
        let mut best: Option<(f64, Vec<Range<usize>>)> = None;
        let mut least = u64::MAX;
        for bound in self.bounds() {
            least = least.min(self.least_held(bound).saturating_add(bound));
            let Some(room) = budget.checked_sub(bound) else { continue };
            let limit = best.as_ref().map_or(f64::INFINITY, |(time, _)| *time);
            best = self.cheapest(bound, room, limit).or(best);
        }
        best.map(|(_, again)| again).ok_or(Least(least))
    }

    fn len(&self) -> usize {
        self.kept.len()
    }

    /// The bytes that come on top while a piece runs again.
    fn on_top(&self, piece: Range<usize>) -> u64 {
        self.flows[piece.start] + self.kept[piece].iter().sum::<u64>()
    }

    /// What the largest piece may take: nothing, or as much as one of the possible pieces.
    fn bounds(&self) -> Vec<u64> {
        let pieces =
            (0..self.len()).flat_map(|first| (first..self.len()).map(move |last| first..last + 1));
        let mut bounds: Vec<u64> = pieces.map(|piece| self.on_top(piece)).chain([0]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let step = bounds.len().div_ceil(BOUNDS);
        bounds.into_iter().step_by(step.max(1)).collect()
    }

    /// The pieces that end behind the stage before `end`: the first stage, bytes held and time of each.
    fn pieces(&self, end: usize, bound: u64) -> impl Iterator<Item = (usize, Piece, u64, f64)> {
        let kept = (end - 1, Piece::Kept, self.kept[end - 1], 0.0);
        let fits = move |first: &usize| self.on_top(*first..end) <= bound;
        let again = (0..end).rev().take_while(fits).map(move |first| {
            let time = self.times[first..end].iter().sum();
            (first, Piece::Again { first }, self.flows[end], time)
        });
        std::iter::once(kept).chain(again)
    }

    fn least_held(&self, bound: u64) -> u64 {
        let mut least = vec![0u64];
        for end in 1..=self.len() {
            let held = self
                .pieces(end, bound)
                .map(|(first, _, held, _)| least[first].saturating_add(held));
            let held = held.min().unwrap_or(u64::MAX);
            least.push(held);
        }
        least[self.len()]
    }

    /// The cheapest cut with `room` for what is held, if it takes less time than `limit`.
    fn cheapest(&self, bound: u64, room: u64, limit: f64) -> Option<(f64, Vec<Range<usize>>)> {
        let start = Pair { held: 0, time: 0.0, piece: Piece::Kept, before: 0 };
        let mut pairs: Vec<Vec<Pair>> = vec![vec![start]];
        for end in 1..=self.len() {
            let mut found = Vec::new();
            for (first, piece, held, time) in self.pieces(end, bound) {
                for (before, pair) in pairs[first].iter().enumerate() {
                    let (held, time) = (pair.held.saturating_add(held), pair.time + time);
                    if held <= room && time < limit {
                        found.push(Pair { held, time, piece, before });
                    }
                }
            }
            pairs.push(unbeaten(found));
        }
        // The more is held, the less time it takes.
        let mut pair = *pairs[self.len()].last()?;
        let (time, mut again, mut end) = (pair.time, Vec::new(), self.len());
        while end > 0 {
            end = match pair.piece {
                Piece::Kept => end - 1,
                Piece::Again { first } => {
                    again.push(first..end);
                    first
                }
            };
            pair = pairs[end][pair.before];
        }
        again.reverse();
        Some((time, again))
    }
}

/// The pairs of which no other holds less and takes less time, the one that holds least first.
fn unbeaten(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_by(|a, b| a.held.cmp(&b.held).then(a.time.total_cmp(&b.time)));
    let mut time = f64::INFINITY;
    pairs.retain(|pair| {
        let is_better = pair.time < time;
        time = time.min(pair.time);
        is_better
    });
    let step = pairs.len().div_ceil(PAIRS).max(1);
    pairs.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests;
