//! What a calibration keeps of each call, and how candle's own share of the backward is split.

use std::time::{Duration, Instant};

use crate::LeafState;
use crate::nn::record::{self, Flops};

/// One leaf of the calibrated model.
#[derive(Clone, Debug)]
pub(super) struct LeafCost {
    pub(super) path: String,
    pub(super) kind: &'static str,
    /// Whether its operations report, or it has no variable.
    pub(super) known: bool,
}

/// One call of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// The leaves that hold its weights; none without weights.
    pub(super) leaves: Vec<usize>,
    /// The leaf in whose row it is shown: its own, or the one before in the order of execution.
    pub(super) shown_in: Option<usize>,
    pub(super) input_tracked: bool,
    pub(super) flops: Flops,
    pub(super) moved: usize,
    pub(super) output: usize,
    pub(super) forward: Duration,
    /// The backward of the input alone, with what candle does until the next operation.
    pub(super) input: Duration,
    /// The backward of the weights alone, with what candle does to add them up.
    pub(super) weight: Duration,
    pub(super) both: Duration,
}

impl Call {
    pub(super) fn trains(&self, states: &[LeafState]) -> bool {
        any_trained(&self.leaves, states)
    }

    /// The better of two measurements of the same call.
    pub(super) fn best(self, other: Self) -> Self {
        Self {
            forward: self.forward.min(other.forward),
            input: self.input.min(other.input),
            weight: self.weight.min(other.weight),
            both: self.both.min(other.both),
            ..self
        }
    }
}

pub(super) fn any_trained(leaves: &[usize], states: &[LeafState]) -> bool {
    leaves.iter().filter_map(|&leaf| states.get(leaf)).any(|state| !state.is_frozen())
}

/// The costs of recorded calls, with the time before the first one's backward. `leaves` tells the
/// leaves of a call's weights.
///
/// Between two calls' backwards candle adds up the gradients that the first returned and goes through
/// operations that do not report. What the sums of the weights take is known; the rest is on the way
/// to the input.
pub(super) fn split(
    recorded: &[record::Call],
    leaves: impl Fn(&record::Call) -> Vec<usize>,
    (began, ended): (Instant, Instant),
) -> (Vec<Call>, Duration) {
    let mut order: Vec<(usize, Instant, Instant)> = recorded
        .iter()
        .enumerate()
        .filter_map(|(i, call)| call.backward.span.map(|(start, end)| (i, start, end)))
        .collect();
    order.sort_by_key(|(_, start, _)| *start);
    let mut gaps = vec![Duration::ZERO; recorded.len()];
    for (place, (index, _, end)) in order.iter().enumerate() {
        let next = order.get(place + 1).map_or(ended, |(_, start, _)| *start);
        gaps[*index] = next.saturating_duration_since(*end);
    }
    let first = order.first().map_or(ended, |(_, start, _)| *start);
    let mut before = None;
    let calls = recorded.iter().zip(gaps).map(|(call, gap)| {
        let leaves = leaves(call);
        before = leaves.first().copied().or(before);
        let sums = match call.input_tracked {
            true => call.backward.add_weight.min(gap),
            false => gap,
        };
        Call {
            leaves,
            shown_in: before,
            input_tracked: call.input_tracked,
            flops: call.flops,
            moved: call.moved,
            output: call.output,
            forward: call.forward,
            input: call.backward.input + (gap - sums),
            weight: call.backward.weight + sums,
            both: call.backward.both + gap,
        }
    });
    (calls.collect(), first.saturating_duration_since(began))
}
