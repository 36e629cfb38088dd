//! Batches of texts of about one length.
//!
//! A text is padded to a width that depends on its own length alone: whatever batch it is in, it enters the
//! model in the same form, so what the cache stores of it stays right.

use candle_core::{Device, Result, Tensor};
use freeze_core::models::TextContext;
use rand::Rng;
use rand::seq::SliceRandom;

use super::tokens::Encoded;

/// Widths are multiples of it.
const STEP: usize = 8;

/// The width to which a text of `tokens` tokens is padded.
pub(crate) fn width(tokens: usize) -> usize {
    tokens.next_multiple_of(STEP)
}

/// All texts in batches of up to `size` of one width, each in the order of its number.
pub(crate) fn in_order(texts: &Encoded, size: usize) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..texts.len() as u32).collect();
    order.sort_by_key(|&text| width(texts.tokens[text as usize].len()));
    cut(&order, texts, size)
}

/// As [`in_order`], with the texts of a width and all batches in a random order. There are as many batches
/// in any order.
pub(crate) fn shuffled(texts: &Encoded, size: usize, rng: &mut impl Rng) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..texts.len() as u32).collect();
    order.shuffle(rng);
    order.sort_by_key(|&text| width(texts.tokens[text as usize].len()));
    let mut batches = cut(&order, texts, size);
    batches.shuffle(rng);
    batches
}

/// The batch in the middle of those in order: of texts of about the usual length.
pub(crate) fn typical(texts: &Encoded, size: usize) -> Vec<u32> {
    let mut batches = in_order(texts, size);
    let middle = batches.len() / 2;
    batches.swap_remove(middle)
}

fn cut(order: &[u32], texts: &Encoded, size: usize) -> Vec<Vec<u32>> {
    let width = |text: &u32| width(texts.tokens[*text as usize].len());
    let of_one_width = order.chunk_by(|one, other| width(one) == width(other));
    of_one_width.flat_map(|texts| texts.chunks(size)).map(<[u32]>::to_vec).collect()
}

/// One batch, as the model takes it.
pub(crate) struct Batch {
    /// Which text each row is.
    pub(crate) keys: Vec<u64>,
    /// `[batch, width]`.
    pub(crate) tokens: Tensor,
    /// `[batch]`.
    pub(crate) classes: Tensor,
    pub(crate) context: TextContext,
}

impl Batch {
    /// The batch of the texts `which`, which have one width; `train` says whether dropout is on.
    ///
    /// # Errors
    ///
    /// candle failed.
    pub(crate) fn new(texts: &Encoded, which: &[u32], train: bool) -> Result<Self> {
        let all = || which.iter().map(|&text| texts.tokens[text as usize].as_slice());
        let wide = all().map(|tokens| width(tokens.len())).max().unwrap_or(0);
        let rows = |value: fn(&[u32], usize, u32) -> u32| {
            let row = |tokens| (0..wide).map(move |at| value(tokens, at, texts.padding));
            let numbers: Vec<u32> = all().flat_map(row).collect();
            Tensor::from_vec(numbers, (which.len(), wide), &Device::Cpu)
        };
        let tokens = rows(|row, at, padding| row.get(at).copied().unwrap_or(padding))?;
        let mask = rows(|row, at, _| u32::from(at < row.len()))?;
        let classes: Vec<u32> = which.iter().map(|&text| texts.classes[text as usize]).collect();
        Ok(Self {
            keys: which.iter().copied().map(u64::from).collect(),
            tokens,
            classes: Tensor::new(classes, &Device::Cpu)?,
            context: TextContext::padded(&mask)?.train(train),
        })
    }
}
