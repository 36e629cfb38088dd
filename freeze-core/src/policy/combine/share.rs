//! Shares of a count, exact where the share is a ratio of it.

/// The smallest k for which k of n is at least `share`. Both are compared as quotients: k / n and
/// the decimal of the same value round alike, while `share * n` may end just above a whole number.
pub(super) fn at_least(share: f64, n: usize) -> usize {
    let near = (share * n as f64) as usize;
    (near.saturating_sub(2)..n).find(|&k| k as f64 / n as f64 >= share).unwrap_or(n)
}

/// The largest k for which k of n is at most `share`.
pub(super) fn at_most(share: f64, n: usize) -> usize {
    let k = at_least(share, n);
    let exceeds = k as f64 / n as f64 > share;
    k - usize::from(exceeds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (share, n, least, most) in [
            (0.0, 0, 0, 0),
            (1.0, 0, 0, 0),
            (0.0, 7, 0, 0),
            (1.0, 7, 7, 7),
            (0.07, 100, 7, 7),   // 0.07 * 100 is 7.000000000000001
            (0.29, 100, 29, 29), // 0.29 * 100 is 28.999999999999996
            (1.0 / 3.0, 27, 9, 9),
            (0.5, 7, 4, 3),
            (0.8, 10, 8, 8),
            (1e-300, 5, 1, 0),
            (0.3, usize::MAX, at_least(0.3, usize::MAX), at_most(0.3, usize::MAX)),
        ] {
            assert_eq!((at_least(share, n), at_most(share, n)), (least, most), "{share} of {n}");
        }
    }

    proptest! {
        #[test]
        fn every_ratio_is_met(n in 1usize..5000, k in 0usize..5000) {
            let k = k % (n + 1);
            let share = k as f64 / n as f64;
            prop_assert_eq!((at_least(share, n), at_most(share, n)), (k, k));
        }
    }
}
