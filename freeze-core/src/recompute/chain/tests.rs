//! The choice against all choices.

use std::ops::Range;

use proptest::prelude::*;

use super::{Chain, Least};

/// The bytes and the time of a choice.
fn cost(chain: &Chain, again: &[Range<usize>]) -> (u64, f64) {
    let runs_again = |stage: usize| again.iter().any(|piece| piece.contains(&stage));
    let kept: u64 = (0..chain.kept.len()).filter(|i| !runs_again(*i)).map(|i| chain.kept[i]).sum();
    let outputs: u64 = again.iter().map(|piece| chain.flows[piece.end]).sum();
    let on_top = |piece: &Range<usize>| {
        chain.flows[piece.start] + piece.clone().map(|i| chain.kept[i]).sum::<u64>()
    };
    let time = again.iter().flat_map(Clone::clone).map(|i| chain.times[i]).sum();
    (kept + outputs + again.iter().map(on_top).max().unwrap_or(0), time)
}

/// Every choice: stages are kept, or in pieces that are run again.
fn all(len: usize) -> Vec<Vec<Range<usize>>> {
    let mut choices: Vec<Vec<Vec<Range<usize>>>> = vec![vec![Vec::new()]];
    for end in 1..=len {
        let mut found = choices[end - 1].clone();
        for (first, before) in choices.iter().enumerate() {
            let piece = first..end;
            found.extend(before.iter().map(|choice| {
                let mut choice = choice.clone();
                choice.push(piece.clone());
                choice
            }));
        }
        choices.push(found);
    }
    choices.pop().unwrap_or_default()
}

fn chains() -> impl Strategy<Value = Chain> {
    (1..8usize).prop_flat_map(|len| {
        let flows = prop::collection::vec(0..50u64, len + 1);
        let more = prop::collection::vec(0..300u64, len);
        let times = prop::collection::vec(0.0..10.0f64, len);
        (flows, more, times).prop_map(|(flows, more, times)| {
            let kept = flows[1..].iter().zip(more).map(|(flow, more)| flow + more).collect();
            Chain { kept, flows, times }
        })
    })
}

proptest! {
    #[test]
    fn no_choice_that_fits_takes_less_time(chain in chains(), share in 0.0..1.2f64) {
        let costs: Vec<(u64, f64)> =
            all(chain.kept.len()).iter().map(|again| cost(&chain, again)).collect();
        let least = costs.iter().map(|(bytes, _)| *bytes).min().expect("a choice");
        let budget = (share * chain.kept.iter().sum::<u64>() as f64) as u64;
        let times = costs.iter().filter(|(bytes, _)| *bytes <= budget).map(|(_, time)| *time);
        match (chain.choose(budget), times.min_by(f64::total_cmp)) {
            (Err(found), None) => prop_assert_eq!(found, Least(least)),
            (Ok(again), Some(best)) => {
                let (bytes, time) = cost(&chain, &again);
                prop_assert!(bytes <= budget, "{bytes} of {budget}");
                prop_assert!(time <= best + 1e-9, "{time}, not {best}");
            }
            (found, best) => prop_assert!(false, "{found:?} {best:?}"),
        }
    }
}

#[test]
fn long_chains_are_cut_too() {
    let len = 60;
    let chain = Chain { kept: vec![100; len], flows: vec![10; len + 1], times: vec![1.0; len] };
    let whole = 100 * len as u64;
    assert_eq!(chain.choose(whole), Ok(Vec::new()));
    let again = chain.choose(whole / 2).expect("half fits");
    let (bytes, time) = cost(&chain, &again);
    assert!(bytes <= whole / 2 && time < 40.0, "{bytes} {time}");
    let Least(least) = chain.choose(100).expect_err("too little");
    assert!(chain.choose(least).is_ok() && chain.choose(least - 1).is_err());
}
