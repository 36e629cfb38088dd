//! Random draws that depend on a seed and a turn alone, so that a run resumes without a generator.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The draws of one turn: a stream of its own of ChaCha8.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    pub(super) fn new(seed: u64, turn: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(turn as u64);
        Self(rng)
    }

    /// A number in [0, 1): the 53 bits that an f64 holds.
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `n`, which is at least 1. Of 2^64 equally likely numbers, two results differ by
    /// at most one.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// The numbers below `n` in random order.
    pub(super) fn shuffled(&mut self, n: usize) -> Vec<usize> {
        self.some(n, n)
    }

    /// `count` different numbers below `n`, or all, ascending.
    pub(super) fn distinct(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut some = self.some(n, count.min(n));
        some.sort_unstable();
        some
    }

    /// The first `count` of a shuffle of the numbers below `n`.
    fn some(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for at in 0..count {
            let from = at + self.below(n - at);
            order.swap(at, from);
        }
        order.truncate(count);
        order
    }

    /// A number of the gamma distribution with the shape `shape`, at least 1, by the method of
    /// Marsaglia and Tsang (2000). Logarithm and cosine are computed in software, because those of
    /// two platforms may differ in the last bit.
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            let v = root * root * root;
            let u = 1.0 - self.unit();
            if v > 0.0 && libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: usize = 4000;

    /// The largest deviation from a mean of n / N for a proportion of p, five standard deviations.
    fn within(found: f64, p: f64) -> bool {
        (found / TURNS as f64 - p).abs() < 5.0 * (p * (1.0 - p) / TURNS as f64).sqrt()
    }

    #[test]
    fn each_number_is_drawn_and_each_order_comes_as_often() {
        for (n, count) in [(5, 2), (7, 1), (3, 3)] {
            let mut hits = vec![0.0; n];
            for turn in 0..TURNS {
                let some = Draws::new(3, turn).distinct(n, count);
                assert!(some.len() == count && some.is_sorted_by(|a, b| a < b), "{some:?}");
                some.into_iter().for_each(|at| hits[at] += 1.0);
            }
            let p = count as f64 / n as f64;
            assert!(hits.iter().all(|&hits| p == 1.0 && hits == TURNS as f64 || within(hits, p)));
        }
        let mut orders = std::collections::BTreeMap::new();
        for turn in 0..TURNS {
            *orders.entry(Draws::new(3, turn).shuffled(3)).or_insert(0.0) += 1.0;
        }
        assert_eq!(orders.len(), 6);
        assert!(orders.values().all(|&times| within(times, 1.0 / 6.0)), "{orders:?}");
    }

    #[test]
    fn none_or_all_or_more_than_all() {
        let rows = [(0, 0, vec![]), (0, 3, vec![]), (4, 0, vec![]), (3, 9, vec![0, 1, 2])];
        for (n, count, expected) in rows {
            assert_eq!(Draws::new(0, 0).distinct(n, count), expected, "{n} {count}");
        }
    }

    #[test]
    fn gamma_has_its_mean_and_its_variance() {
        for shape in [1.0, 2.5, 40.0] {
            let mut draws = Draws::new(1, 0);
            let some: Vec<f64> = (0..TURNS).map(|_| draws.gamma(shape)).collect();
            let mean = some.iter().sum::<f64>() / TURNS as f64;
            let squares = some.iter().map(|x| (x - shape).powi(2)).sum::<f64>();
            // The variance of the mean is shape / N; that of the squares 3 shape^2 + 6 shape at
            // most less shape^2.
            assert!((mean - shape).abs() < 5.0 * (shape / TURNS as f64).sqrt(), "{mean}");
            let spread = ((2.0 * shape * shape + 6.0 * shape) / TURNS as f64).sqrt();
            assert!((squares / TURNS as f64 - shape).abs() < 5.0 * spread, "{squares}");
            assert!(some.iter().all(|&x| x > 0.0));
        }
    }
}
