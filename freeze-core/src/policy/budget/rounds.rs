//! Units in rounds, as many together as fit.

/// Units 0 to `units` in rounds, in order, each that `fits` alone once. There is one round at least.
pub(super) fn in_rounds(units: usize, fits: impl Fn(&[usize]) -> bool) -> Vec<Vec<usize>> {
    let (mut rounds, mut round) = (Vec::new(), Vec::new());
    for unit in 0..units {
        round.push(unit);
        if fits(&round) {
            continue;
        }
        round.pop();
        if fits(&[unit]) {
            rounds.push(std::mem::replace(&mut round, vec![unit]));
        }
    }
    rounds.push(round);
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit, what each unit costs, and the rounds.
    type Row = (usize, &'static [usize], &'static [&'static [usize]]);

    #[test]
    fn units_share_a_round_as_long_as_they_fit() {
        let rows: [Row; 6] = [
            (9, &[1, 1, 1], &[&[0, 1, 2]]),
            (2, &[1, 1, 1], &[&[0, 1], &[2]]),
            (2, &[1, 2, 1], &[&[0], &[1], &[2]]),
            (2, &[3, 1, 9, 1], &[&[1, 3]]),
            (1, &[2], &[&[]]),
            (1, &[], &[&[]]),
        ];
        for (limit, costs, expected) in rows {
            let sum = |round: &[usize]| round.iter().map(|&unit| costs[unit]).sum::<usize>();
            let found = in_rounds(costs.len(), |round| sum(round) <= limit);
            assert_eq!(found, expected, "{limit} {costs:?}");
        }
    }
}
