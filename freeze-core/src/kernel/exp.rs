//! An exponential that the compiler turns into vector instructions, for softmax and GELU.

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

#[cfg(test)]
mod tests {
    use super::exp_f32;

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
