//! One pass over parameter, gradient and moments, in parallel if they are large enough.

use candle_core::WithDType;

use super::meter::{BLOCK, Meter};
use super::{ElementRule, GradMap, Rows, Tally};
use crate::kernel::pieces::STREAM;
use crate::kernel::{Element, Real, half_wide, threads};

/// The arrays of an update, split at the same places; moments and master weights may be empty.
struct Lanes<'a, P: Element> {
    theta: &'a mut [P],
    grad: &'a [P],
    first: &'a mut [P::Real],
    second: &'a mut [P::Real],
    master: &'a mut [P::Real],
}

/// Updates `theta` and the rows of `state`, which are stored one after the other, and adds up what
/// `tally` wants. Its sums have the same bits on any number of threads.
pub(crate) fn update<P: Element, U: ElementRule>(
    (rule, map): (&U, GradMap),
    theta: &mut [P],
    grad: &[P],
    (state, rows): (&mut [P::Real], Rows),
    tally: Option<&mut Tally>,
) {
    let (moments, master) = state.split_at_mut((rows.moments * theta.len()).min(state.len()));
    let (first, second) = moments.split_at_mut(theta.len().min(moments.len()));
    let lanes = Lanes { theta, grad, first, second, master };
    if lanes.theta.len() < STREAM.from {
        return serial(rule, map, lanes, tally);
    }
    let count = lanes.theta.len().div_ceil(STREAM.grain);
    let mut tallies = tally.as_ref().map_or_else(Vec::new, |tally| vec![**tally; count]);
    threads::each(lanes.pieces(&mut tallies), |(lanes, tally)| serial(rule, map, lanes, tally));
    if let Some(tally) = tally {
        tallies.iter().for_each(|piece| tally.add(piece));
    }
}

fn serial<P: Element, U: ElementRule>(
    rule: &U,
    map: GradMap,
    lanes: Lanes<'_, P>,
    tally: Option<&mut Tally>,
) {
    let Lanes { theta, grad, first, second, master } = lanes;
    if let (None, GradMap::Identity, Some(grad)) = (&tally, map, P::exact(grad))
        && let Some(theta) = P::exact_mut(theta)
    {
        return run(rule, theta, grad, first, second);
    }
    let mut meter = tally.map(Meter::new);
    let zero = P::Real::from_f64(0.0);
    let (mut grads, mut thetas) = ([zero; BLOCK], [zero; BLOCK]);
    let mut rest = Lanes { theta, grad, first, second, master };
    while !rest.theta.is_empty() {
        let (block, behind) = rest.split_at(BLOCK);
        rest = behind;
        let grads = mapped(map, block.grad, &mut grads[..block.grad.len()]);
        if let Some(meter) = &mut meter {
            meter.begin(block.theta);
        }
        if let Some(theta) = P::exact_mut(block.theta) {
            run(rule, theta, grads, block.first, block.second);
            if let Some(meter) = &mut meter {
                meter.end(grads, theta);
            }
            continue;
        }
        let thetas = &mut thetas[..block.theta.len()];
        match block.master.is_empty() {
            true => P::load(block.theta, thetas),
            false => P::recall(block.theta, block.master, thetas),
        }
        run(rule, thetas, grads, block.first, block.second);
        P::store(block.theta, thetas);
        block.master.copy_from_slice(&thetas[..block.master.len()]);
        if let Some(meter) = &mut meter {
            P::load(block.theta, thetas);
            meter.end(grads, thetas);
        }
    }
}

/// The gradients that the update uses: as they are if nothing changes them, else in `room`, which is
/// as long.
fn mapped<'a, P: Element>(map: GradMap, grad: &'a [P], room: &'a mut [P::Real]) -> &'a [P::Real] {
    if let (GradMap::Identity, Some(grad)) = (map, P::exact(grad)) {
        return grad;
    }
    P::load(grad, room);
    half_wide(
        #[inline(always)]
        || map.apply(room),
    );
    room
}

/// Runs the rule at the processor's SIMD width. Compiled for each type of arithmetic, not for each
/// type of elements.
fn run<T: Real, U: ElementRule>(
    rule: &U,
    theta: &mut [T],
    grad: &[T],
    first: &mut [T],
    second: &mut [T],
) {
    half_wide(
        #[inline(always)]
        || rule.run(theta, grad, first, second),
    );
}

impl<'a, P: Element> Lanes<'a, P> {
    fn split_at(self, middle: usize) -> (Self, Self) {
        let (theta, theta_behind) = self.theta.split_at_mut(middle.min(self.theta.len()));
        let (grad, grad_behind) = self.grad.split_at(middle.min(self.grad.len()));
        let (first, first_behind) = self.first.split_at_mut(middle.min(self.first.len()));
        let (second, second_behind) = self.second.split_at_mut(middle.min(self.second.len()));
        let (master, master_behind) = self.master.split_at_mut(middle.min(self.master.len()));
        let front = Self { theta, grad, first, second, master };
        let back = Lanes {
            theta: theta_behind,
            grad: grad_behind,
            first: first_behind,
            second: second_behind,
            master: master_behind,
        };
        (front, back)
    }

    /// The pieces that threads take one at a time, each with a tally as long as there are any. Both
    /// ends of the iterator take from the front.
    fn pieces(
        mut self,
        tallies: &mut [Tally],
    ) -> impl ExactSizeIterator<Item = (Self, Option<&mut Tally>)> + DoubleEndedIterator {
        let mut tallies = tallies.iter_mut();
        (0..self.theta.len().div_ceil(STREAM.grain)).map(move |_| {
            let [first, second] = [&mut self.first, &mut self.second].map(std::mem::take);
            let (theta, grad) = (std::mem::take(&mut self.theta), self.grad);
            let master = std::mem::take(&mut self.master);
            let all = Lanes { theta, grad, first, second, master };
            let (piece, behind) = all.split_at(STREAM.grain);
            self = behind;
            (piece, tallies.next())
        })
    }
}
