//! `f16` as bits: conversions that are a few instructions on whole vectors. Those of `half` ask for each
//! element what the processor can do, and are a call.

/// The number of an `f16`, exactly.
#[inline(always)]
pub(super) fn f16_to_f32(bits: u16) -> f32 {
    /// `2^112`, by which the exponents of the two types differ.
    const SHIFT: f32 = f32::from_bits(0x7780_0000);
    /// What is infinite or NaN, once it is moved into the place of an `f32`.
    const ODD: u32 = 0x7c00 << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    let finite = (f32::from_bits(rest) * SHIFT).to_bits();
    let odd = rest | 0x7f80_0000;
    f32::from_bits(sign | if rest >= ODD { odd } else { finite })
}

/// The nearest `f16`, of two the even one.
#[inline(always)]
pub(super) fn f32_to_f16(value: f32) -> u16 {
    /// From here on what rounds up is infinite: `2^16`.
    const LARGE: u32 = 0x4780_0000;
    /// Below this an `f16` has fewer digits: `2^-14`.
    const SMALL: u32 = 0x3880_0000;
    /// Added to a small number this rounds it to a multiple of the smallest `f16`, `2^-24`: `1/2`.
    const ROUND: u32 = 0x3f00_0000;
    let bits = value.to_bits();
    let (sign, size) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    // The exponent moved, and the lower digits rounded: half a unit less one, and one more if odd.
    let normal = size.wrapping_sub(0x3800_0000).wrapping_add(0xfff + (size >> 13 & 1)) >> 13;
    let small = (f32::from_bits(size) + f32::from_bits(ROUND)).to_bits().wrapping_sub(ROUND);
    let nan = 0x7e00 | (size >> 13 & 0x3ff);
    let large = if size > 0x7f80_0000 { nan } else { 0x7c00 };
    let rest = if size < SMALL { small } else { normal };
    (sign | if size >= LARGE { large } else { rest }) as u16
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::{f16_to_f32, f32_to_f16};

    #[test]
    fn every_f16_is_read_as_half_does() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (f16_to_f32(bits), f16::from_bits(bits).to_f32());
            let same = found.to_bits() == expected.to_bits();
            assert!(same || found.is_nan() && expected.is_nan(), "{bits:04x}");
            if !expected.is_nan() {
                assert_eq!(f32_to_f16(expected), bits);
            }
        }
    }

    #[test]
    fn every_number_is_rounded_as_half_does() {
        // Each exponent and sign with digits around all roundings, and some between.
        let digits = (0..1 << 13).map(|i| i * 0x3ff).chain((0..1 << 10).map(|i| i << 13 | 0x1000));
        for digits in digits.flat_map(|digits| [digits, digits ^ 1]) {
            for upper in 0..1u32 << 9 {
                let value = f32::from_bits(upper << 23 | digits & 0x7f_ffff);
                let (found, expected) = (f32_to_f16(value), f16::from_f32(value));
                let same = found == expected.to_bits();
                assert!(same || f16::from_bits(found).is_nan() && expected.is_nan(), "{value:e}");
            }
        }
    }
}
