//! The sum of squares in double precision, with the same bits on any number of threads.

use candle_core::WithDType;

use crate::kernel::pieces::STREAM;
use crate::kernel::{Element, Real, threads, wide};

/// The elements converted at a time.
const BLOCK: usize = 512;

/// The sum of the squares of all elements.
pub(super) fn sum_squares<P: Element>(elements: &[P]) -> f64 {
    if elements.len() >= STREAM.from {
        return threads::map(elements.chunks(STREAM.grain), sum_squares).into_iter().sum();
    }
    wide(
        #[inline(always)]
        || squares_of(elements),
    )
}

#[inline(always)]
fn squares_of<P: Element>(elements: &[P]) -> f64 {
    let mut buffer = [P::Real::ZERO; BLOCK];
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
