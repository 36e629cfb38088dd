//! The time model with given times.

mod models;

use std::time::{Duration, Instant};

use super::costs::{Call, Heads, LeafCost, Recording, combine, typical};
use super::*;
use crate::nn::record::{self, Backward, Flops, Part};
use crate::plan::Declared;

fn trained(paths: Vec<String>) -> FreezePlan {
    let declared = vec![Declared::NOTHING; paths.len()];
    FreezePlan::of(paths.into(), &declared, Declared::state).expect("a plan")
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Four leaves, each with one call, and a call without weights behind the second.
pub(super) fn given() -> Calibration {
    let call = |leaf: Option<usize>, [input, weight, both]: [u64; 3]| Call {
        leaves: leaf.into_iter().collect(),
        shown_in: leaf,
        input_tracked: input > 0,
        flops: Flops { forward: 1, input: 10, weight: 100 },
        moved: 0,
        output: 1 << leaf.unwrap_or(8),
        forward: ms(2),
        frozen_forward: ms(1),
        input: ms(input),
        weight: ms(weight),
        both: ms(both),
    };
    let calls = vec![
        call(Some(0), [0, 5, 5]),
        call(Some(1), [20, 6, 25]),
        call(None, [30, 0, 30]),
        call(Some(2), [40, 7, 46]),
        call(Some(3), [50, 8, 57]),
    ];
    let paths: Vec<String> = (0..4).map(|i| i.to_string()).collect();
    let leaf = |path: &String| LeafCost { path: path.clone(), kind: "Linear".into(), known: true };
    Calibration {
        leaves: paths.iter().map(leaf).collect(),
        calls,
        vars: vec![(100, vec![0]), (200, vec![1]), (300, vec![2]), (400, vec![3])],
        template: trained(paths),
        heads: Heads { forward: ms(4), backward: ms(2) },
        update: ms(1000),
        moments: 2,
    }
}

#[test]
fn a_calibration_prints_its_times_in_milliseconds() {
    let text = given().to_string();
    let totals = "forward 14.000 ms in all, loss 2.000 ms, update 1000.000 ms";
    assert!(text.ends_with(totals), "{text}");
    let row = text.lines().find(|line| line.contains("50.000 ms")).expect("the last leaf");
    assert!(row.contains(" 2.000 ms") && row.contains(" 8.000 ms"), "{row}");
}

pub(super) fn plan(costs: &Calibration, frozen: &[usize]) -> FreezePlan {
    let mut plan = costs.template.clone();
    for &leaf in frozen {
        plan.set(leaf, LeafState::Frozen).expect("a leaf");
    }
    plan
}

#[test]
fn a_plan_is_put_together_from_its_parts() {
    let costs = given();
    // Forward and loss, the backward of each call, the update's share.
    let cases: [(&[usize], u64); 6] = [
        (&[], 16 + 5 + 25 + 30 + 46 + 57 + 1000),
        (&[0], 15 + 6 + 30 + 46 + 57 + 900),
        (&[0, 1], 13 + 7 + 57 + 700),
        (&[0, 1, 2], 12 + 8 + 400),
        (&[1, 2], 16 + 5 + 20 + 30 + 40 + 57 + 500),
        (&[0, 1, 2, 3], 9),
    ];
    for (frozen, expected) in cases {
        let plan = plan(&costs, frozen);
        assert_eq!(costs.step_time(plan.states()), ms(expected), "{frozen:?}");
        let ratio = costs.forecast(&plan).expect("a forecast").step_ratio.expect("known");
        assert!((ratio - expected as f64 / 1179.0).abs() < 1e-12, "{frozen:?}");
    }
}

#[test]
fn bytes_and_operations_follow_the_plan() {
    let costs = given();
    let cases: [(&[usize], usize, usize, u64); 4] = [
        (&[], 1000, 1 + 2 + 256 + 4 + 8, 5 + 400 + 40),
        (&[0, 1], 700, 4 + 8, 5 + 200 + 10),
        (&[1, 2], 500, 1 + 2 + 256 + 4 + 8, 5 + 200 + 40),
        (&[0, 1, 2, 3], 0, 0, 5),
    ];
    for (frozen, gradients, kept, flops) in cases {
        let forecast = costs.forecast(&plan(&costs, frozen)).expect("a forecast");
        assert_eq!(forecast.gradient_bytes, gradients, "{frozen:?}");
        assert_eq!(forecast.state_bytes, 2 * gradients);
        assert_eq!(forecast.activation_bytes, kept, "{frozen:?}");
        assert_eq!(forecast.flops, flops, "{frozen:?}");
        for (moments, bytes) in
            [(0, 0), (1, gradients), (usize::MAX, usize::MAX * gradients.min(1))]
        {
            let other = costs.clone().with_moments(moments).forecast(&plan(&costs, frozen));
            assert_eq!(other.expect("a forecast").state_bytes, bytes, "{moments}");
        }
    }
    let other = trained(vec!["other".to_string()]);
    assert!(costs.forecast(&other).is_err());
}

#[test]
fn a_forecast_is_told_in_a_line() {
    let mut costs = given();
    let whole = costs.forecast(&plan(&costs, &[])).expect("a forecast");
    let Forecast { gradient_bytes, state_bytes, activation_bytes, .. } = whole;
    let bytes = format!(
        "gradients {gradient_bytes} bytes, optimizer state {state_bytes}, activations {activation_bytes}"
    );
    assert!(
        whole
            .to_string()
            .starts_with("a step takes 1.00 of one that trains everything; 0.00 MFLOP; ")
    );
    assert!(whole.to_string().ends_with(&bytes), "{whole}");
    costs.leaves[0].known = false;
    let unknown = costs.forecast(&plan(&costs, &[])).expect("a forecast").to_string();
    assert!(unknown.starts_with("how long a step takes is unknown; "), "{unknown}");
    assert!(unknown.ends_with(&format!("{bytes}; not recorded: `0`")), "{unknown}");
}

#[test]
fn without_a_report_of_the_first_trained_leaf_nothing_is_said() {
    let mut costs = given();
    costs.leaves[1].known = false;
    for (frozen, known) in [(&[][..], true), (&[0], false), (&[0, 1], true), (&[2], true)] {
        let forecast = costs.forecast(&plan(&costs, frozen)).expect("a forecast");
        assert_eq!(forecast.step_ratio.is_some(), known, "{frozen:?}");
        assert_eq!(forecast.unknown, ["1"]);
    }
}

#[test]
fn the_typical_time_is_the_median() {
    let cases: [(&[u64], Option<u64>); 4] =
        [(&[], None), (&[7], Some(7)), (&[9, 1], Some(9)), (&[90, 1, 5], Some(5))];
    for (times, expected) in cases {
        assert_eq!(typical(times.iter().map(|&time| ms(time))), expected.map(ms), "{times:?}");
    }
}

/// A call with weights whose input is `tracked` or not, and the time of its backward.
fn recorded(started: Instant, tracked: bool, backward: Backward) -> record::Call {
    record::Call {
        operands: Vec::new(),
        input_tracked: tracked,
        weight_tracked: true,
        flops: Flops::default(),
        moved: 0,
        output: 0,
        started,
        backward,
    }
}

#[test]
fn what_candle_does_between_two_calls_is_the_inputs() {
    let start = Instant::now();
    let at = |time| start + ms(time);
    let tracked = [false, true, true];
    let calls = |starts: [u64; 3], parts: [Backward; 3]| {
        let parts = tracked.into_iter().zip(parts);
        let calls = starts.into_iter().zip(parts);
        calls.map(|(start, (tracked, part))| recorded(at(start), tracked, part)).collect()
    };
    let round = |part, parts: [Backward; 3]| {
        let (forward, backward) = ((at(0), at(100)), Some((at(100), at(315))));
        Recording { part, calls: calls([3, 23, 60], parts), forward, backward }
    };
    let frozen = || {
        let (part, forward) = (Part::Whole, (at(0), at(50)));
        Recording { part, calls: calls([5, 15, 35], Default::default()), forward, backward: None }
    };
    // The last operation's backward comes first: 7 ms after the loss. Gaps of 5, 90 and 50 ms.
    let whole = || {
        let spans = [(300, 310), (185, 210), (107, 135)];
        round(
            Part::Whole,
            spans.map(|(a, b)| Backward { span: Some((at(a), at(b))), ..Default::default() }),
        )
    };
    // The first call has no input gradient, so that its weights are not timed on their own. What
    // rounds that time parts say about spans does not count.
    let input = || {
        let inputs = [None, Some(10), Some(11)];
        let span = Some((at(100), at(101)));
        let inputs = inputs.map(|t| Backward { input: t.map(ms), span, ..Default::default() });
        round(Part::Input, inputs)
    };
    let weight = |more: u64| {
        let weights = [None, Some(20), Some(21)];
        round(
            Part::Weight,
            weights.map(|weight| Backward {
                weight: weight.map(|t| ms(t + more)),
                ..Default::default()
            }),
        )
    };
    let rounds = [frozen(), whole(), input(), weight(500), whole(), input(), weight(0), weight(0)];
    let (calls, heads) = combine(&rounds, |_, _| Vec::new());
    assert_eq!(heads, Heads { forward: ms(3), backward: ms(7) });
    let forwards: Vec<_> = calls.iter().map(|call| [call.forward, call.frozen_forward]).collect();
    assert_eq!(forwards, [[ms(20), ms(10)], [ms(37), ms(20)], [ms(40), ms(15)]]);
    let times: Vec<_> = calls.iter().map(|call| [call.input, call.weight, call.both]).collect();
    assert_eq!(times[0], [ms(0), ms(10 + 5), ms(10 + 5)]);
    assert_eq!(times[1], [ms(10 + 90), ms(20), ms(25 + 90)]);
    assert_eq!(times[2], [ms(11 + 50), ms(21), ms(28 + 50)]);
    let (without, _) = combine(&rounds[1..], |_, _| Vec::new());
    assert!(without.iter().all(|call| call.frozen_forward == call.forward));
    assert!(combine(&[], |_, _| Vec::new()).0.is_empty());
}
