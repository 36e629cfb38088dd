//! Attention as an operation of candle's graph.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, Layout, Result, Shape, Tensor};

use super::NAME;
#[cfg(feature = "cuda")]
use super::card;
use super::kept::Attention;
use crate::kernel::attention::{Forward, Heads, Order, Sizes, backward, forward};
use crate::kernel::slices::{read_rows, tensor, with_rows, with2};
use crate::kernel::{Real, by_real};
use crate::nn::ops::operation::{Operand, Operation, Reads, Stored, each_wanted};

impl Operation<3> for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, _: [&Layout; 3]) -> Result<Shape> {
        Ok(shape(&self.sizes, self.order))
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; 3]) -> Result<CpuStorage> {
        let [(q, q_l), (k, k_l), (v, v_l)] = operands;
        let (dtype, [_, [.., inner], [.., width]]) = (q.dtype(), self.sizes.operands());
        by_real!(dtype, T => {
            let (q, q_steps) = read_rows::<T>(q, q_l)?;
            let (k, k_steps) = read_rows::<T>(k, k_l)?;
            let (v, v_steps) = read_rows::<T>(v, v_l)?;
            let (q, k) = (heads(&q, &q_steps, inner), heads(&k, &k_steps, inner));
            let (y, stats) = self.call([q, k, heads(&v, &v_steps, width)], forward)?;
            // Set once: an operation runs forward once.
            let _ = self.stats.set(stats);
            Ok(T::write(y, dtype))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, operands: [Operand<'_, CudaStorage>; 3]) -> Result<CudaStorage> {
        card::forward(self, operands)
    }

    /// The kernel of the CPU, which leaves statistics behind, reads the result.
    fn reads(&self, _: [bool; 3]) -> Reads<3> {
        Reads { operands: [true; 3], result: self.stats.get().is_some() }
    }

    fn gradients(
        &self,
        operands: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        #[cfg(feature = "cuda")]
        if grad.device().is_cuda() {
            return card::gradients(self, operands, grad, wanted);
        }
        let stats = self.stats.get().map_or(&[] as &[_], Vec::as_slice);
        let (dtype, [_, [.., inner], [.., width]]) = (grad.dtype(), self.sizes.operands());
        let orders = std::array::from_fn(|place| wanted[place].then(|| order(operands[place])));
        by_real!(dtype, T => {
            let [q, k, v] = operands;
            let mut found = with_heads(q, inner, |q: Heads<'_, T>| {
                with_heads(k, inner, |k| with_heads(v, width, |v| {
                    with2([y, grad], |y: &[T], grad: &[T]| {
                        let steps = self.order.steps(self.sizes.result());
                        let [y, grad] = [y, grad].map(|values| Heads { values, steps });
                        let forward = Forward { y, grad, stats };
                        self.call([q, k, v], |call| backward(call, forward, orders))
                    })
                }))
            })?;
            let mut gradients = [const { None }; 3];
            for ((to, found), operand) in gradients.iter_mut().zip(&mut found).zip(operands) {
                let found = found.take();
                *to = found.map(|values| tensor(values, operand.shape(), dtype)).transpose()?;
            }
            Ok(gradients)
        })
    }
}

/// How heads lie in a contiguous tensor of this rank.
fn order(operand: &Tensor) -> Order {
    if operand.rank() == 3 { Order::SideBySide } else { Order::Apart }
}

/// The shape of the result.
fn shape(sizes: &Sizes, order: Order) -> Shape {
    let (batch, [heads, queries, width]) = (sizes.batch, sizes.result());
    match order {
        Order::Apart => Shape::from((batch, heads, queries, width)),
        Order::SideBySide => Shape::from((batch, queries, heads * width)),
    }
}

/// The heads of an operand with these steps along its dimensions, of rows of `size`.
fn heads<'a, T>(values: &'a [T], steps: &[usize], size: usize) -> Heads<'a, T> {
    let steps = match *steps {
        [batch, place, _] => [batch, size, place],
        [batch, head, place, ..] => [batch, head, place],
        _ => [0; 3],
    };
    Heads { values, steps }
}

fn with_heads<T: Real, R>(
    tensor: &Tensor,
    size: usize,
    run: impl FnOnce(Heads<'_, T>) -> Result<R>,
) -> Result<R> {
    with_rows(tensor, |values: &[T], steps| run(heads(values, steps, size)))
}

/// Attention to no keys, or with an empty result: zeros.
pub(super) struct Nothing {
    pub(super) sizes: Sizes,
    pub(super) order: Order,
}

impl Operation<3> for Nothing {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, _: [&Layout; 3]) -> Result<Shape> {
        Ok(shape(&self.sizes, self.order))
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; 3]) -> Result<CpuStorage> {
        self.portable(operands)
    }

    fn portable<S: Stored>(&self, [(q, _), ..]: [Operand<'_, S>; 3]) -> Result<S> {
        q.device().zeros_impl(&shape(&self.sizes, self.order), q.dtype())
    }

    fn reads(&self, _: [bool; 3]) -> Reads<3> {
        Reads::NOTHING
    }

    fn gradients(
        &self,
        operands: [&Tensor; 3],
        _: &Tensor,
        _: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        each_wanted(wanted, |place| operands[place].zeros_like())
    }
}
