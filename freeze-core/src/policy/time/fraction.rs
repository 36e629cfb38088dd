//! The fraction that a decimal setting stands for.

/// A fraction of two integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fraction {
    pub(super) num: u128,
    pub(super) den: u128,
}

/// The largest term of a fraction: products with a number of steps then fit.
const LARGEST: f64 = (1_u64 << 32) as f64;

impl Fraction {
    /// The fraction with small terms whose nearest f64 is `value`, in [0, 1]: 1/3 for 0.333.., 2/5
    /// for 0.4. `None` for a value too small for one.
    ///
    /// A setting is an f64, but who writes 0.4 of 35 layers means 14, and 0.4 is a little more than
    /// 2/5 in f64. A fraction with small terms is a convergent of the continued fraction.
    pub(super) fn meant(value: f64) -> Option<Self> {
        let (mut rest, mut last, mut next) = (value, (0_u128, 1_u128), (1_u128, 0_u128));
        loop {
            let whole = rest.floor();
            let term = |last: u128, next: u128| whole * next as f64 + last as f64;
            let (num, den) = (term(last.0, next.0), term(last.1, next.1));
            if !(0.0..=LARGEST).contains(&num) || !(1.0..=LARGEST).contains(&den) {
                return None;
            }
            (last, next) = (next, (num as u128, den as u128));
            if num / den == value {
                return Some(Self { num: next.0, den: next.1 });
            }
            rest = 1.0 / (rest - whole);
        }
    }
}

/// Whether `done` of `total` is at least the share `share` of it.
pub(super) fn reaches(done: usize, total: usize, share: f64) -> bool {
    match Fraction::meant(share) {
        Some(Fraction { num, den }) => done as u128 * den >= num * total as u128,
        None => done as f64 >= share * total as f64,
    }
}

/// The whole part of the share `share`, in [0, 1], of `total`.
pub(super) fn part(total: usize, share: f64) -> usize {
    let part = match Fraction::meant(share) {
        Some(Fraction { num, den }) => (num * total as u128 / den) as usize,
        None => (share * total as f64) as usize,
    };
    part.min(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_what_is_meant() {
        for (value, meant) in [
            (0.0, Some((0, 1))),
            (1.0, Some((1, 1))),
            (0.4, Some((2, 5))),
            (0.29, Some((29, 100))),
            (1.0 / 3.0, Some((1, 3))),
            (0.333, Some((333, 1000))),
            (0.999_999, Some((999_999, 1_000_000))),
            (1e-300, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            let found = Fraction::meant(value).map(|Fraction { num, den }| (num, den));
            assert_eq!(found, meant, "{value}");
        }
        assert_eq!((part(100, 0.29), part(35, 0.4), part(7, 1e-300)), (29, 14, 0));
        assert!(reaches(7, 70, 0.1) && !reaches(6, 70, 0.1) && reaches(1, 7, 1e-300));
    }

    proptest! {
        #[test]
        fn a_fraction_is_found_again(den in 1_u128..100_000, num in 0_u128..100_000) {
            prop_assume!(num <= den);
            let Fraction { num: n, den: d } =
                Fraction::meant(num as f64 / den as f64).expect("small terms");
            prop_assert_eq!(n * den, num * d);
        }

        #[test]
        fn a_part_reaches_its_share(total in 0_usize..1_000_000, share in 0.0..=1.0_f64) {
            let part = part(total, share);
            prop_assert!(!reaches(part, total, share) || part as f64 <= share * total as f64 + 1e-6);
            prop_assert!(part == total || reaches(part + 1, total, share));
        }
    }
}
