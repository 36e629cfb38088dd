//! The costs of each call, and how the time between calls in the backward is divided.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::nn::record::{self, Flops, Part};
use crate::plan::LeafState;

/// One leaf of the calibrated model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeafCost {
    pub(super) path: String,
    pub(super) kind: Cow<'static, str>,
    /// Whether its operations are recorded, or it has no variable.
    pub(super) known: bool,
}

/// One call of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// The leaves that hold its weights; empty without weights.
    pub(super) leaves: Vec<usize>,
    /// The leaf in whose row it is shown: its own, or the previous one in the order of execution.
    pub(super) shown_in: Option<usize>,
    pub(super) input_tracked: bool,
    pub(super) flops: Flops,
    pub(super) moved: usize,
    pub(super) output: usize,
    /// The forward, including candle's work until the next call.
    pub(super) forward: Duration,
    /// The forward if nothing is tracked, so that no result is kept.
    pub(super) frozen_forward: Duration,
    /// The gradient of the input, including candle's work until the next call.
    pub(super) input: Duration,
    /// The gradients of the weights.
    pub(super) weight: Duration,
    pub(super) both: Duration,
}

impl Call {
    pub(super) fn trains(&self, states: &[LeafState]) -> bool {
        any_trained(&self.leaves, states)
    }
}

pub(super) fn any_trained(leaves: &[usize], states: &[LeafState]) -> bool {
    leaves.iter().filter_map(|&leaf| states.get(leaf)).any(|state| !state.is_frozen())
}

/// The bytes of the variables that train.
pub(super) fn trained_bytes(vars: &[(usize, Vec<usize>)], states: &[LeafState]) -> usize {
    let trained = vars.iter().filter(|(_, leaves)| any_trained(leaves, states));
    trained.map(|(bytes, _)| bytes).sum()
}

/// The median; for an even number, the upper of the two in the middle.
pub(super) fn typical(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// One round's calls.
pub(super) struct Recording {
    pub(super) part: Part,
    pub(super) calls: Vec<record::Call>,
    /// When the forward began and ended.
    pub(super) forward: (Instant, Instant),
    /// When the backward began and ended; `None` for a round in which everything was frozen.
    pub(super) backward: Option<(Instant, Instant)>,
}

impl Recording {
    /// Whether everything was trained and no part was timed on its own.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.part == Part::Whole && self.backward.is_some()
    }

    /// The time until the first call, and that of each call until the next one.
    fn forward(&self) -> (Duration, Vec<Duration>) {
        let (began, ended) = self.forward;
        let starts = self.calls.iter().map(|call| call.started);
        let ends = starts.clone().skip(1).chain([ended]);
        let times =
            starts.clone().zip(ends).map(|(start, end)| end.saturating_duration_since(start));
        let first = starts.clone().next().unwrap_or(ended);
        (first.saturating_duration_since(began), times.collect())
    }

    /// The time until the backward of the first call started, and the time between each call's
    /// backward and the next one.
    fn gaps(&self) -> Option<(Duration, Vec<Duration>)> {
        let (began, ended) = self.backward?;
        let spans = self.calls.iter().enumerate();
        let spans = spans.filter_map(|(i, call)| call.backward.span.map(|(a, b)| (i, a, b)));
        let mut order: Vec<(usize, Instant, Instant)> = spans.collect();
        order.sort_by_key(|(_, start, _)| *start);
        let mut gaps = vec![Duration::ZERO; self.calls.len()];
        for (place, (index, _, end)) in order.iter().enumerate() {
            let next = order.get(place + 1).map_or(ended, |(_, start, _)| *start);
            gaps[*index] = next.saturating_duration_since(*end);
        }
        let (_, first, _) = order.first()?;
        Some((first.saturating_duration_since(began), gaps))
    }
}

/// The time of a step before its first call, in the forward and in the backward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heads {
    pub(super) forward: Duration,
    pub(super) backward: Duration,
}

/// The typical costs of each call in `rounds`, which all called the same operations; the last one
/// trained everything. `leaves` returns the leaves of a call's weights and the row in which it is
/// shown.
///
/// Between the backwards of two calls candle adds up the gradients of inputs that the first one returned
/// and runs operations that are not recorded: that counts to the gradient of the input, or, without
/// one, to those of the weights. Gradients of weights are not added up: see
/// [`backward`](crate::nn::backward()).
pub(super) fn combine(
    rounds: &[Recording],
    leaves: impl Fn(usize, &record::Call) -> Vec<usize>,
) -> (Vec<Call>, Heads) {
    let undisturbed = || rounds.iter().filter(|round| round.is_undisturbed());
    let gaps: Vec<(Duration, Vec<Duration>)> = undisturbed().filter_map(Recording::gaps).collect();
    let forwards: Vec<_> = undisturbed().map(Recording::forward).collect();
    let frozen = rounds.iter().filter(|round| round.backward.is_none());
    let frozen: Vec<_> = frozen.map(Recording::forward).collect();
    let heads = Heads {
        forward: typical(forwards.iter().map(|(head, _)| *head)).unwrap_or_default(),
        backward: typical(gaps.iter().map(|(head, _)| *head)).unwrap_or_default(),
    };
    let mut before = None;
    let calls = rounds.last().map_or(&[][..], |round| &round.calls);
    let calls = calls.iter().enumerate().map(|(index, call)| {
        let of = |time: &dyn Fn(&record::Call) -> Option<Duration>| {
            typical(rounds.iter().filter_map(|round| time(&round.calls[index])))
        };
        let gap = typical(gaps.iter().map(|(_, gaps)| gaps[index])).unwrap_or_default();
        let both = undisturbed().filter_map(|round| round.calls[index].backward.span);
        let both = typical(both.map(|(start, end)| end - start)).unwrap_or_default();
        let alone = |time: Option<Duration>, tracked: bool| match tracked {
            true => time.unwrap_or(both),
            false => Duration::ZERO,
        };
        let [of_input, of_weight] = match call.input_tracked {
            true => [gap, Duration::ZERO],
            false => [Duration::ZERO, gap],
        };
        let forward = typical(forwards.iter().map(|(_, calls)| calls[index])).unwrap_or_default();
        let frozen = typical(frozen.iter().map(|(_, calls)| calls[index]));
        let leaves = leaves(index, call);
        before = leaves.first().copied().or(before);
        Call {
            shown_in: before,
            input_tracked: call.input_tracked,
            flops: call.flops,
            moved: call.moved,
            output: call.output,
            forward,
            frozen_forward: frozen.unwrap_or(forward),
            input: alone(of(&|call| call.backward.input), call.input_tracked) + of_input,
            weight: match (call.weight_tracked, &leaves[..]) {
                // Parameters among the inputs: where they are the first to train, all of it is for them.
                (false, [_, ..]) => both + gap,
                (weight_tracked, _) => {
                    alone(of(&|call| call.backward.weight), weight_tracked) + of_weight
                }
            },
            both: both + gap,
            leaves,
        }
    });
    (calls.collect(), heads)
}
