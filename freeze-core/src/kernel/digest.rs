//! Digests of the bytes of rows, the same on every device.

use candle_core::{Device, Result, Tensor};
use safetensors::tensor::View as _;

use super::wide;

/// The difference between the keys of neighbours: 2^64 by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Two sums over the words of 8 bytes, the last of which is filled up with zeros: of the words, and of the products of
/// the halves of each after it was mixed with the key of its place.
///
/// This is XXH3's step for a word, with keys that depend on the place alone, so that sums of pieces add up in any order.
pub(crate) type Digest = [u64; 2];

/// The digest of each of the `rows` rows that a tensor has, of equal size. A card computes those of its tensors.
pub(crate) fn row_digests(tensor: &Tensor, rows: usize) -> Result<Vec<Digest>> {
    let bytes = super::bytes_of(tensor);
    let Some(width) = bytes.checked_div(rows).filter(|width| *width > 0) else {
        return Ok(vec![[0; 2]; rows]);
    };
    #[cfg(feature = "cuda")]
    if super::cuda::takes(tensor) {
        return super::cuda::digest::row_digests(tensor, rows);
    }
    let here = tensor.detach().to_device(&Device::Cpu)?.flatten_all()?.contiguous()?;
    Ok(here.data().chunks_exact(width).map(digest).collect())
}

fn digest(bytes: &[u8]) -> Digest {
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sums = wide(|| {
        let (mut key, mut sums) = (0, [0; 2]);
        for word in whole {
            key = u64::wrapping_add(key, STEP);
            sums = plus(sums, of_word(u64::from_le_bytes(*word), key));
        }
        sums
    });
    match rest {
        [] => sums,
        _ => {
            plus(sums, of_word(u64::from_le_bytes(last), STEP.wrapping_mul(whole.len() as u64 + 1)))
        }
    }
}

#[inline(always)]
fn of_word(word: u64, key: u64) -> Digest {
    let mixed = word ^ key;
    [word, (mixed & 0xffff_ffff) * (mixed >> 32)]
}

#[inline(always)]
fn plus([a, b]: Digest, [c, d]: Digest) -> Digest {
    [a.wrapping_add(c), b.wrapping_add(d)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::width::tests::same_at_each_level;

    /// Word by word, as it is defined.
    fn defined(bytes: &[u8]) -> Digest {
        let (mut words, mut products) = (0u128, 0u128);
        for (i, part) in (1u128..).zip(bytes.chunks(8)) {
            let word = part.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            let mixed = word ^ (i * u128::from(STEP)) as u64;
            words += u128::from(word);
            products += u128::from(mixed as u32) * u128::from(mixed >> 32);
        }
        [words as u64, products as u64]
    }

    proptest! {
        #[test]
        fn a_digest_is_the_sums(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(digest(&bytes), defined(&bytes));
        }

        #[test]
        fn another_order_or_number_is_another_digest(
            words in prop::collection::vec(prop_oneof![Just(0u64), Just(1 << 31), any::<u64>()], 2..40),
            [i, j] in any::<[prop::sample::Index; 2]>(),
            bit in 0u32..64,
        ) {
            let digest = |words: &[u64]| {
                digest(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
            };
            let (i, j) = (i.index(words.len()), j.index(words.len()));
            let mut other = words.clone();
            other.swap(i, j);
            prop_assert_eq!(digest(&other) == digest(&words), other == words);
            other[i] ^= 1u64 << bit;
            prop_assert_ne!(digest(&other), digest(&words));
        }
    }

    #[test]
    fn it_is_the_same_at_each_level() {
        for len in [0, 3, 8, 100, 4099] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 % 251) as u8).collect();
            let halves = |word: u64| [(word >> 32) as f64, f64::from(word as u32)];
            same_at_each_level("a digest", || digest(&bytes).map(halves).concat());
        }
    }

    #[test]
    fn each_row_has_one() -> Result<()> {
        let tensor = Tensor::arange(0u32, 12, &Device::Cpu)?.reshape((3, 4))?;
        let bytes = |from: u32, step: u32| -> Vec<u8> {
            (0..4).flat_map(|i| (from + step * i).to_le_bytes()).collect()
        };
        let rows = [0, 4, 8].map(|from| defined(&bytes(from, 1)));
        assert_eq!(row_digests(&tensor, 3)?, rows);
        let turned = Tensor::arange(0u32, 12, &Device::Cpu)?.reshape((4, 3))?.t()?;
        assert_eq!(row_digests(&turned, 3)?, [0, 1, 2].map(|from| defined(&bytes(from, 3))));
        assert_eq!(row_digests(&tensor.narrow(1, 0, 0)?, 3)?, [[0; 2]; 3]);
        assert_eq!(row_digests(&tensor.narrow(0, 0, 0)?, 0)?, [[0; 2]; 0]);
        Ok(())
    }
}
