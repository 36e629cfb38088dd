//! Digests of the bytes of rows, the same on every device.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

use super::slices::span;
use super::wide;

/// The words of 8 bytes that one digest is of.
const WORDS: usize = 1 << 10;

/// What the words of a digest are mixed with, by their place: numbers without a pattern, since the sums of data with
/// one, such as small whole numbers, would meet otherwise.
static KEYS: [[u64; WORDS]; 2] = [keys(0), keys(WORDS as u64)];

/// Two sums over at most 1024 words, the last of which is filled up with zeros: of the products of the halves of each
/// after it was mixed with a key of its place. Each is NH (Black et al. 1999, UMAC) with XXH3's way of mixing.
///
/// Sums of parts add up in any order, so that a card computes them in parallel.
pub(crate) type Digest = [u64; 2];

/// Digests of the bytes of each of the `rows` rows that a tensor has, of equal size: as many for each row, in order.
/// A card computes those of its tensors; they are the same on every device.
pub(crate) fn row_digests(tensor: &Tensor, rows: usize) -> Result<Vec<Digest>> {
    let bytes = super::bytes_of(tensor);
    let Some(width) = bytes.checked_div(rows).filter(|width| *width > 0) else {
        return Ok(Vec::new());
    };
    #[cfg(feature = "cuda")]
    if super::cuda::takes(tensor) {
        return super::cuda::digest::row_digests(tensor, rows, WORDS);
    }
    let here = tensor.detach().to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = here.storage_and_layout();
    let of_rows = |bytes: &[u8]| {
        bytes.chunks_exact(width).flat_map(|row| row.chunks(8 * WORDS).map(digest)).collect()
    };
    match (&*storage, span(layout)) {
        (Storage::Cpu(storage), Some(span)) => with_bytes(storage, span, of_rows),
        _ => bail!("expected a tensor on the cpu"),
    }
}

/// Steele et al. 2014, SplitMix64, from the number `first` on.
const fn keys(first: u64) -> [u64; WORDS] {
    let (mut keys, mut i) = ([0; WORDS], 0);
    while i < WORDS {
        let step = (first + i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (step ^ step >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        keys[i] = mixed ^ mixed >> 31;
        i += 1;
    }
    keys
}

/// Hands the bytes of some elements to `take`.
fn with_bytes<R>(
    storage: &CpuStorage,
    span: Range<usize>,
    take: impl FnOnce(&[u8]) -> R,
) -> Result<R> {
    use bytemuck::cast_slice;
    Ok(match storage {
        CpuStorage::U8(elements) => take(&elements[span]),
        CpuStorage::U32(elements) => take(cast_slice(&elements[span])),
        CpuStorage::I16(elements) => take(cast_slice(&elements[span])),
        CpuStorage::I32(elements) => take(cast_slice(&elements[span])),
        CpuStorage::I64(elements) => take(cast_slice(&elements[span])),
        CpuStorage::BF16(elements) => take(cast_slice(&elements[span])),
        CpuStorage::F16(elements) => take(cast_slice(&elements[span])),
        CpuStorage::F32(elements) => take(cast_slice(&elements[span])),
        CpuStorage::F64(elements) => take(cast_slice(&elements[span])),
        CpuStorage::F8E4M3(elements) => {
            let bytes: Vec<u8> = elements[span].iter().map(|element| element.to_bits()).collect();
            take(&bytes)
        }
        other => bail!("elements of {:?} have no bytes of their own", other.dtype()),
    })
}

/// Of at most 1024 words.
fn digest(bytes: &[u8]) -> Digest {
    let (whole, rest) = bytes.as_chunks::<8>();
    let [first, second] = &KEYS;
    let mut sums = wide(
        #[inline(always)]
        || {
            let mut sums = [0; 2];
            for ((word, a), b) in whole.iter().zip(first).zip(second) {
                sums = plus(sums, u64::from_le_bytes(*word), [*a, *b]);
            }
            sums
        },
    );
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sums = plus(sums, u64::from_le_bytes(last), KEYS.map(|keys| keys[whole.len()]));
    }
    sums
}

#[inline(always)]
fn plus(sums: Digest, word: u64, keys: [u64; 2]) -> Digest {
    let product = |key: u64| ((word ^ key) & 0xffff_ffff) * ((word ^ key) >> 32);
    [sums[0].wrapping_add(product(keys[0])), sums[1].wrapping_add(product(keys[1]))]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use candle_core::DType;
    use proptest::prelude::*;
    use safetensors::tensor::View as _;

    use super::*;
    use crate::kernel::width::tests::same_at_each_level;

    /// Word by word, as it is defined.
    fn defined(row: &[u8]) -> Vec<Digest> {
        let product = |word: u64, key: u64| {
            let mixed = word ^ key;
            u128::from(mixed as u32) * u128::from(mixed >> 32)
        };
        let of_piece = |bytes: &[u8]| {
            let mut sums = [0u128; 2];
            for (i, part) in bytes.chunks(8).enumerate() {
                let word = part.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
                sums = [0, 1].map(|k| sums[k] + product(word, KEYS[k][i]));
            }
            sums.map(|sum| sum as u64)
        };
        row.chunks(8 * WORDS).map(of_piece).collect()
    }

    fn of_bytes(bytes: &[u8]) -> Vec<Digest> {
        let row = Tensor::from_slice(bytes, (1, bytes.len()), &Device::Cpu).expect("a tensor");
        row_digests(&row, 1).expect("digests")
    }

    proptest! {
        #[test]
        fn a_digest_is_the_sums(
            few in prop::collection::vec(any::<u8>(), 0..300),
            times in prop::sample::select(vec![1usize, 30, 70]),
        ) {
            let bytes = few.repeat(times);
            prop_assert_eq!(of_bytes(&bytes), defined(&bytes));
        }

        #[test]
        fn another_order_or_number_is_another_digest(
            words in prop::collection::vec(prop_oneof![Just(0u64), Just(1 << 31), any::<u64>()], 2..40),
            [i, j] in any::<[prop::sample::Index; 2]>(),
            bit in 0u32..64,
        ) {
            let digest = |words: &[u64]| {
                of_bytes(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
            };
            let (i, j) = (i.index(words.len()), j.index(words.len()));
            let mut other = words.clone();
            other.swap(i, j);
            prop_assert_eq!(digest(&other) == digest(&words), other == words);
            other[i] ^= 1u64 << bit;
            prop_assert_ne!(digest(&other), digest(&words));
        }
    }

    /// Data of few numbers, in all orders: masks, classes, signs. With keys in equal steps the 8192 masks in i64 had
    /// 1376 digests.
    #[test]
    fn numbers_with_a_pattern_have_digests_of_their_own() -> Result<()> {
        let kinds = [DType::I64, DType::U32, DType::F32, DType::F64, DType::U8, DType::BF16];
        for dtype in kinds {
            for [low, high] in [[0., 1.], [-1., 1.], [2., 3.], [6., 7.]] {
                let numbers: Vec<f64> = (0u32..1 << 13)
                    .flat_map(|bits| {
                        (0..13).map(move |i| if bits >> i & 1 == 0 { low } else { high })
                    })
                    .collect();
                if low < 0. && !dtype.is_float() {
                    continue;
                }
                let rows =
                    Tensor::from_vec(numbers, (1 << 13, 13), &Device::Cpu)?.to_dtype(dtype)?;
                let digests = row_digests(&rows, 1 << 13)?;
                for k in [0, 1] {
                    let distinct: HashSet<u64> = digests.iter().map(|digest| digest[k]).collect();
                    assert_eq!(distinct.len(), 1 << 13, "{dtype:?} of {low} and {high}, sum {k}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn it_is_the_same_at_each_level() {
        for len in [0, 3, 8, 100, 4099, 20_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 % 251) as u8).collect();
            let halves = |word: u64| [(word >> 32) as f64, f64::from(word as u32)];
            same_at_each_level("a digest", || {
                of_bytes(&bytes).concat().into_iter().flat_map(halves).collect()
            });
        }
    }

    #[test]
    fn elements_of_every_type_are_their_bytes() -> Result<()> {
        use DType::{BF16, F8E4M3, F16, F32, F64, I16, I32, I64, U8, U32};
        for dtype in [U8, U32, I16, I32, I64, BF16, F16, F32, F64, F8E4M3] {
            let tensor =
                Tensor::arange(0f64, 15., &Device::Cpu)?.to_dtype(dtype)?.reshape((3, 5))?;
            let bytes = tensor.data().into_owned();
            assert_eq!(bytes.len(), 15 * dtype.size_in_bytes());
            let rows = bytes.chunks(bytes.len() / 3).flat_map(defined).collect::<Vec<_>>();
            assert_eq!(row_digests(&tensor, 3)?, rows, "{dtype:?}");
        }
        Ok(())
    }

    #[test]
    fn each_row_has_one() -> Result<()> {
        let tensor = Tensor::arange(0u32, 12, &Device::Cpu)?.reshape((3, 4))?;
        let bytes = |from: u32, step: u32| -> Vec<u8> {
            (0..4).flat_map(|i| (from + step * i).to_le_bytes()).collect()
        };
        let rows = [0, 4, 8].map(|from| defined(&bytes(from, 1))).concat();
        assert_eq!(row_digests(&tensor, 3)?, rows);
        let turned = Tensor::arange(0u32, 12, &Device::Cpu)?.reshape((4, 3))?.t()?;
        assert_eq!(
            row_digests(&turned, 3)?,
            [0, 1, 2].map(|from| defined(&bytes(from, 3))).concat()
        );
        // A view that begins later.
        assert_eq!(row_digests(&tensor.narrow(0, 1, 2)?, 2)?, rows[1..]);
        assert_eq!(row_digests(&tensor.narrow(1, 0, 0)?, 3)?, [[0; 2]; 0]);
        assert_eq!(row_digests(&tensor.narrow(0, 0, 0)?, 0)?, [[0; 2]; 0]);
        Ok(())
    }
}
