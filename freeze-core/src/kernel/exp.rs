//! An exponential and a hyperbolic tangent that the compiler turns into vector instructions.

/// `e^x` for `x` of at most 0, within 2 units of the last place; 0 below the logarithm of the
/// smallest normal number, NaN for NaN.
///
/// `x = n ln 2 + r`, with `|r|` at most half of `ln 2`; `e^r` is Cephes' polynomial (Moshier, 1989).
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    const SMALLEST: f32 = -87.336_54;
    // Adding this rounds to a whole number and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // The logarithm of 2 in two parts; the first has few enough bits for `n` times it to be exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const TERMS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

    let clamped = if x < SMALLEST { SMALLEST } else { x };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * LN_2[0] - n * LN_2[1];
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum * r + term;
    }
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let value = (sum * r * r + r + 1.0) * power;
    if x < SMALLEST { 0.0 } else { value }
}

/// The hyperbolic tangent, within 3 units of the last place; NaN for NaN.
///
/// `(1 - e^(-2|x|)) / (1 + e^(-2|x|))`, and near 0, where that cancels, Cephes' polynomial (Moshier, 1989).
#[inline(always)]
pub(crate) fn tanh_f32(x: f32) -> f32 {
    const NEAR: f32 = 0.625;
    const TERMS: [f32; 5] =
        [-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let size = x.abs();
    let power = exp_f32(-(size + size));
    let far = ((1.0 - power) / (1.0 + power)).copysign(x);
    let square = x * x;
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum * square + term;
    }
    let near = sum * square * x + x;
    if size < NEAR { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::{exp_f32, tanh_f32};

    #[test]
    fn the_tangent_is_within_three_units_of_the_last_place() {
        for i in 0..1_000_000 {
            let x = 1e-6 + 12.0 * (i as f32 / 1_000_000.0);
            let (found, exact) = (tanh_f32(x), f64::from(x).tanh());
            let unit = f64::from((exact as f32).next_up() - exact as f32);
            let off = (f64::from(found) - exact).abs() / unit;
            assert!(off <= 3.0, "tanh {x} is off by {off} units");
            assert_eq!(tanh_f32(-x), -found);
        }
        assert_eq!([tanh_f32(f32::INFINITY), tanh_f32(-1e30), tanh_f32(0.0)], [1.0, -1.0, 0.0]);
        assert!(tanh_f32(f32::NAN).is_nan());
    }

    #[test]
    fn within_two_units_of_the_last_place() {
        for i in 0..2_000_000 {
            let x = -87.33 * (i as f32 / 2_000_000.0);
            let (found, exact) = (exp_f32(x), f64::from(x).exp());
            let unit = f64::from((exact as f32).next_up() - exact as f32);
            let off = (f64::from(found) - exact).abs() / unit;
            assert!(off <= 2.0, "e^{x} is off by {off} units");
        }
    }

    #[test]
    fn at_the_ends() {
        assert_eq!([exp_f32(0.0), exp_f32(-0.0)], [1.0, 1.0]);
        assert_eq!([exp_f32(-87.4), exp_f32(-1e30), exp_f32(f32::NEG_INFINITY)], [0.0; 3]);
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
