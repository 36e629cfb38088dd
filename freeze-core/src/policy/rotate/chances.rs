//! From scores to chances, and from chances to a draw.

use super::draws::Draws;

/// The chance of each block to be drawn first, from its score.
///
/// With L scores of at least 0, of which the largest is `s_max`, the temperature T and the floor f:
///
/// ```text
/// w_l = (s_l / s_max)^(1 / T)
/// p_l = (1 - f) w_l / sum(w) + f / L
/// ```
///
/// A block without a score counts as `s_max`, so that it is drawn soon and gets one. Where all scores are
/// 0 or absent, all chances are 1 / L. Every chance is at least f / L, and they add up to 1.
///
/// ```
/// use freeze_core::policy::draw_chances;
///
/// assert_eq!(draw_chances(&[Some(3.0), Some(1.0)], 1.0, 0.0), [0.75, 0.25]);
/// assert_eq!(draw_chances(&[Some(2.0), Some(0.0), None], 1.0, 0.0), [0.5, 0.0, 0.5]);
/// assert_eq!(draw_chances(&[Some(0.0), Some(0.0)], 1.0, 0.1), [0.5, 0.5]);
/// ```
pub fn draw_chances(scores: &[Option<f64>], temperature: f64, floor: f64) -> Vec<f64> {
    let largest = scores.iter().flatten().copied().fold(0.0, f64::max);
    let even = 1.0 / scores.len() as f64;
    if largest == 0.0 {
        return vec![even; scores.len()];
    }
    let weight =
        |score: &Option<f64>| libm::pow(score.unwrap_or(largest) / largest, 1.0 / temperature);
    let weights: Vec<f64> = scores.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (1.0 - floor) * (weight / sum) + floor * even).collect()
}

/// The `count` blocks with the largest scores, or all, ascending. Blocks without a score come first;
/// among equals the one in front does.
///
/// ```
/// use freeze_core::policy::largest_scores;
///
/// assert_eq!(largest_scores(&[Some(1.0), Some(2.0), Some(2.0)], 2), [1, 2]);
/// assert_eq!(largest_scores(&[Some(1.0), None, Some(2.0), Some(2.0)], 2), [1, 2]);
/// ```
pub fn largest_scores(scores: &[Option<f64>], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let score = |at: &usize| scores.get(*at).copied().flatten().unwrap_or(f64::INFINITY);
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    order.truncate(count);
    order.sort_unstable();
    order
}

/// `count` different blocks, or all, ascending: each is drawn by its chance among those that are left.
pub(super) fn drawn(chances: &[f64], count: usize, draws: &mut Draws) -> Vec<usize> {
    let mut left: Vec<(usize, f64)> = chances.iter().copied().enumerate().collect();
    let mut drawn = Vec::new();
    while drawn.len() < count && !left.is_empty() {
        let sum: f64 = left.iter().map(|(_, chance)| chance).sum();
        let place = match sum > 0.0 {
            true => placed(&left, draws.unit() * sum),
            false => draws.below(left.len()),
        };
        drawn.push(left.remove(place).0);
    }
    drawn.sort_unstable();
    drawn
}

/// Whose share of the sum of chances holds `at`; the last one with a chance, if rounding leaves none.
fn placed(left: &[(usize, f64)], at: f64) -> usize {
    let mut sum = 0.0;
    let holds = |(_, chance): &(usize, f64)| {
        sum += chance;
        at < sum
    };
    let last = || left.iter().rposition(|(_, chance)| *chance > 0.0);
    left.iter().position(holds).or_else(last).unwrap_or(0)
}

/// Chances of the Dirichlet distribution with the concentrations 1 + `counts`.
pub(super) fn dirichlet(counts: &[u64], draws: &mut Draws) -> Vec<f64> {
    let gammas: Vec<f64> = counts.iter().map(|&count| draws.gamma(1.0 + count as f64)).collect();
    let sum: f64 = gammas.iter().sum();
    gammas.into_iter().map(|gamma| gamma / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_draw_goes_by_chances_and_the_second_by_what_is_left() {
        const TURNS: usize = 4000;
        let chances = [0.5, 0.3, 0.2];
        let mut pairs = std::collections::BTreeMap::new();
        for turn in 0..TURNS {
            let pair = drawn(&chances, 2, &mut Draws::new(5, turn));
            *pairs.entry((pair[0], pair[1])).or_insert(0.0) += 1.0;
        }
        for ((a, b), times) in &pairs {
            let (a, b): (f64, f64) = (chances[*a], chances[*b]);
            let p = a * b / (1.0 - a) + b * a / (1.0 - b);
            let error: f64 = times / TURNS as f64 - p;
            assert!(error.abs() < 5.0 * (p * (1.0 - p) / TURNS as f64).sqrt(), "{pairs:?}");
        }
        assert_eq!(pairs.len(), 3);
    }

    #[test]
    fn what_has_no_chance_is_drawn_last() {
        for turn in 0..200 {
            let draws = || Draws::new(0, turn);
            assert_eq!(drawn(&[0.0, 1.0, 0.0, 1.0], 2, &mut draws()), [1, 3]);
            assert_eq!(drawn(&[0.0, 1.0, 0.0], 3, &mut draws()), [0, 1, 2]);
            assert_eq!(drawn(&[], 3, &mut draws()), [0usize; 0]);
        }
        assert_eq!(placed(&[(0, 0.5), (1, 0.5), (2, 0.0)], 1.0), 1);
    }

    #[test]
    fn frequent_blocks_get_larger_chances() {
        let draws = |turn| dirichlet(&[0, 9], &mut Draws::new(0, turn));
        let mean = (0..2000).map(|turn| draws(turn)[1]).sum::<f64>() / 2000.0;
        // Concentrations of 1 and 10: a mean of 10 / 11, a standard deviation of 0.083.
        assert!((mean - 10.0 / 11.0).abs() < 5.0 * 0.083 / 2000f64.sqrt(), "{mean}");
    }
}
