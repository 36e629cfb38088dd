//! One pass over parameter, gradient and moments, in parallel if they are large enough.

use candle_core::WithDType;

use super::{ElementRule, GradMap, Rows};
use crate::kernel::pieces::STREAM;
use crate::kernel::{Element, Real, half_wide, threads};

/// The elements converted at a time: four blocks of them fit into the first-level cache.
const BLOCK: usize = 512;

/// The arrays of an update, split at the same places; moments and master weights may be empty.
struct Lanes<'a, P: Element> {
    theta: &'a mut [P],
    grad: &'a [P],
    first: &'a mut [P::Real],
    second: &'a mut [P::Real],
    master: &'a mut [P::Real],
}

/// Updates `theta` and the rows of `state`, which are stored one after the other.
pub(crate) fn update<P: Element, U: ElementRule>(
    rule: &U,
    map: GradMap,
    theta: &mut [P],
    grad: &[P],
    state: &mut [P::Real],
    rows: Rows,
) {
    let (moments, master) = state.split_at_mut((rows.moments * theta.len()).min(state.len()));
    let (first, second) = moments.split_at_mut(theta.len().min(moments.len()));
    let lanes = Lanes { theta, grad, first, second, master };
    if lanes.theta.len() < STREAM.from {
        return serial(rule, map, lanes);
    }
    threads::each(lanes.pieces(), |lanes| serial(rule, map, lanes));
}

fn serial<P: Element, U: ElementRule>(rule: &U, map: GradMap, lanes: Lanes<'_, P>) {
    let Lanes { theta, grad, first, second, master } = lanes;
    if let (GradMap::Identity, Some(grad)) = (map, P::exact(grad))
        && let Some(theta) = P::exact_mut(theta)
    {
        return run(rule, theta, grad, first, second);
    }
    let zero = P::Real::from_f64(0.0);
    let (mut grads, mut thetas) = ([zero; BLOCK], [zero; BLOCK]);
    let mut rest = Lanes { theta, grad, first, second, master };
    while !rest.theta.is_empty() {
        let (block, behind) = rest.split_at(BLOCK);
        rest = behind;
        let grads = &mut grads[..block.grad.len()];
        P::load(block.grad, grads);
        half_wide(
            #[inline(always)]
            || map.apply(grads),
        );
        if let Some(theta) = P::exact_mut(block.theta) {
            run(rule, theta, grads, block.first, block.second);
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
    }
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

    /// The pieces that threads take one at a time. Both ends of the iterator take from the front.
    fn pieces(mut self) -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator {
        (0..self.theta.len().div_ceil(STREAM.grain)).map(move |_| {
            let [first, second] = [&mut self.first, &mut self.second].map(std::mem::take);
            let (theta, grad) = (std::mem::take(&mut self.theta), self.grad);
            let master = std::mem::take(&mut self.master);
            let all = Lanes { theta, grad, first, second, master };
            let (piece, behind) = all.split_at(STREAM.grain);
            self = behind;
            piece
        })
    }
}
