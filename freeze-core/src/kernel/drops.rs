//! Which elements a dropout keeps: one stream of random words, entered anywhere.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stretch of a generator's stream, a word of 32 bits for each element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drops {
    seed: u64,
    /// Where the first element's word lies in the stream.
    pub(super) position: u64,
    /// An element is dropped whose word is below this.
    pub(super) bound: u32,
    /// What is kept is multiplied by this.
    pub(crate) scale: f64,
}

impl Drops {
    /// Drops each element with probability `p`, below 1.
    pub(crate) fn new(seed: u64, position: u64, p: f32) -> Self {
        let p = f64::from(p);
        let bound = (p * 2f64.powi(32)) as u32;
        Self { seed, position, bound, scale: 1.0 / (1.0 - p) }
    }

    /// The stretch from the element at `first` on.
    #[cfg(feature = "cuda")]
    pub(crate) fn from(self, first: usize) -> Self {
        Self { position: self.position + first as u64, ..self }
    }

    /// The key of the generator, by which a card draws the same words.
    #[cfg(feature = "cuda")]
    pub(super) fn key(&self) -> [u32; 8] {
        let key = ChaCha8Rng::seed_from_u64(self.seed).get_seed();
        std::array::from_fn(|word| {
            u32::from_le_bytes(std::array::from_fn(|byte| key[4 * word + byte]))
        })
    }

    /// Whether each element is kept, from the one at `first` on. The stream is read in stretches of 64 words, and
    /// to enter it costs one.
    pub(crate) fn kept(&self, first: usize) -> impl Iterator<Item = bool> + use<> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_word_pos(u128::from(self.position) + first as u128);
        let bound = self.bound;
        std::iter::repeat_with(move || rng.next_u32() >= bound)
    }

    /// Writes whether each element is kept, from the one at `first` on.
    pub(crate) fn mark(&self, first: usize, kept: &mut [bool]) {
        /// The words that are drawn at a time: a stretch of the stream.
        const WORDS: usize = 64;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_word_pos(u128::from(self.position) + first as u128);
        let mut bytes = [0; 4 * WORDS];
        for kept in kept.chunks_mut(WORDS) {
            let bytes = &mut bytes[..4 * kept.len()];
            rng.fill_bytes(bytes);
            let (words, _) = bytes.as_chunks::<4>();
            for (kept, word) in kept.iter_mut().zip(words) {
                *kept = u32::from_le_bytes(*word) >= self.bound;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Drops;

    #[test]
    fn marks_are_the_words_of_the_stream() {
        for (position, first, len) in [(0, 0, 0), (0, 0, 1), (3, 5, 63), (3, 61, 64), (9, 7, 200)] {
            let drops = Drops::new(4, position, 0.4);
            let mut kept = vec![false; len];
            drops.mark(first, &mut kept);
            assert_eq!(kept, drops.kept(first).take(len).collect::<Vec<_>>(), "{first} {len}");
        }
    }
}
