//! One pass over parameter, gradient and moments, in parallel where that pays.

use candle_core::WithDType;

use super::{Element, GradMap, Real, Rows};
use crate::optim::rule::Kernel;
use crate::threads;

/// Below this many elements one thread is faster than the handing over of work.
pub(crate) const PARALLEL_MIN: usize = 1 << 16;

/// The elements one thread takes at a time.
const GRAIN: usize = 1 << 15;

/// The elements converted at a time: four blocks of them fit into the first-level cache.
const BLOCK: usize = 512;

/// The arrays of an update, cut in the same places; moments and master weights may be empty.
struct Lanes<'a, P: Element> {
    theta: &'a mut [P],
    grad: &'a [P],
    first: &'a mut [P::Acc],
    second: &'a mut [P::Acc],
    master: &'a mut [P::Acc],
}

/// Updates `theta` and the rows of `state`, which lie one after the other.
pub(crate) fn update<P: Element, K: Kernel>(
    kernel: &K,
    map: GradMap,
    theta: &mut [P],
    grad: &[P],
    state: &mut [P::Acc],
    rows: Rows,
) {
    let (moments, master) = state.split_at_mut((rows.moments * theta.len()).min(state.len()));
    let (first, second) = moments.split_at_mut(theta.len().min(moments.len()));
    let lanes = Lanes { theta, grad, first, second, master };
    if lanes.theta.len() < PARALLEL_MIN {
        return serial(kernel, map, lanes);
    }
    threads::each(lanes.pieces(), |lanes| serial(kernel, map, lanes));
}

fn serial<P: Element, K: Kernel>(kernel: &K, map: GradMap, lanes: Lanes<'_, P>) {
    let Lanes { theta, grad, first, second, master } = lanes;
    if let (GradMap::Identity, Some(grad)) = (map, P::exact(grad))
        && let Some(theta) = P::exact_mut(theta)
    {
        return kernel.run(theta, grad, first, second);
    }
    let zero = P::Acc::from_f64(0.0);
    let (mut grads, mut thetas) = ([zero; BLOCK], [zero; BLOCK]);
    let mut rest = Lanes { theta, grad, first, second, master };
    while !rest.theta.is_empty() {
        let (block, behind) = rest.split_at(BLOCK);
        rest = behind;
        let grads = &mut grads[..block.grad.len()];
        P::load(block.grad, grads);
        map.apply(grads);
        if let Some(theta) = P::exact_mut(block.theta) {
            kernel.run(theta, grads, block.first, block.second);
            continue;
        }
        let thetas = &mut thetas[..block.theta.len()];
        match block.master.is_empty() {
            true => P::load(block.theta, thetas),
            false => P::recall(block.theta, block.master, thetas),
        }
        kernel.run(thetas, grads, block.first, block.second);
        P::store(block.theta, thetas);
        block.master.copy_from_slice(&thetas[..block.master.len()]);
    }
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

    /// What one thread takes at a time, from the front whichever end is asked.
    fn pieces(mut self) -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator {
        (0..self.theta.len().div_ceil(GRAIN)).map(move |_| {
            let [first, second] = [&mut self.first, &mut self.second].map(std::mem::take);
            let (theta, grad) = (std::mem::take(&mut self.theta), self.grad);
            let master = std::mem::take(&mut self.master);
            let all = Lanes { theta, grad, first, second, master };
            let (piece, behind) = all.split_at(GRAIN);
            self = behind;
            piece
        })
    }
}

/// The sum of squares in double precision; the same bits however many threads there are.
pub(crate) fn sum_squares<P: Element>(elements: &[P]) -> f64 {
    if elements.len() >= PARALLEL_MIN {
        return threads::map(elements.chunks(GRAIN), sum_squares).into_iter().sum();
    }
    let mut buffer = [P::Acc::from_f64(0.0); BLOCK];
    let mut lanes = [0.0f64; 8];
    for block in elements.chunks(BLOCK) {
        let numbers = match P::exact(block) {
            Some(numbers) => numbers,
            None => {
                P::load(block, &mut buffer[..block.len()]);
                &buffer[..block.len()]
            }
        };
        let (eights, rest) = numbers.as_chunks::<8>();
        for eight in eights {
            for (lane, x) in lanes.iter_mut().zip(eight) {
                let x = x.to_f64();
                *lane += x * x;
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += x.to_f64() * x.to_f64();
        }
    }
    lanes.iter().sum()
}

/// Whether no element is infinite or NaN.
pub(crate) fn all_finite<P: Element>(elements: &[P]) -> bool {
    if elements.len() < PARALLEL_MIN {
        return P::all_finite(elements);
    }
    threads::map(elements.chunks(GRAIN), all_finite).into_iter().all(|finite| finite)
}

/// `sum = keep * sum + factor * grad`.
pub(crate) fn add_scaled<T: Real>(
    sum: Option<&mut [T]>,
    keep: T,
    grad: Option<&[T]>,
    factor: T,
) -> candle_core::Result<()> {
    let (Some(sum), Some(grad)) = (sum, grad) else {
        candle_core::bail!("the layout reaches behind the storage")
    };
    let add = |(sum, grad): (&mut [T], &[T])| {
        sum.iter_mut().zip(grad).for_each(|(sum, &g)| *sum = keep * *sum + factor * g);
    };
    match sum.len() < PARALLEL_MIN {
        true => add((sum, grad)),
        false => threads::each(sum.chunks_mut(GRAIN).zip(grad.chunks(GRAIN)), add),
    }
    Ok(())
}
