//! Attention as an operation of candle's graph.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, Layout, Result, Shape, Tensor};

use super::NAME;
#[cfg(feature = "cuda")]
use super::card;
use super::kept::Attention;
use crate::kernel::attention::{Forward, Sizes, backward, forward};
use crate::kernel::slices::{read, tensor, with2, with3};
use crate::kernel::{Real, by_real};
use crate::nn::ops::operation::{Operand, Operation, Stored, each_wanted};

impl Operation<3> for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, _: [&Layout; 3]) -> Result<Shape> {
        Ok(Shape::from(self.sizes.result().to_vec()))
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; 3]) -> Result<CpuStorage> {
        let [(q, q_l), (k, k_l), (v, v_l)] = operands;
        let dtype = q.dtype();
        by_real!(dtype, T => {
            let (q, k, v) = (read::<T>(q, q_l)?, read::<T>(k, k_l)?, read::<T>(v, v_l)?);
            let (y, stats) = self.call([&q, &k, &v], forward)?;
            // Set once: an operation runs forward once.
            let _ = self.stats.set(stats);
            Ok(T::write(y, dtype))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, operands: [Operand<'_, CudaStorage>; 3]) -> Result<CudaStorage> {
        card::forward(self, operands)
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
        let dtype = grad.dtype();
        by_real!(dtype, T => {
            let mut found = with3(operands, |q: &[T], k: &[T], v: &[T]| {
                with2([y, grad], |y: &[T], grad: &[T]| {
                    let forward = Forward { y, grad, stats };
                    self.call([q, k, v], |call| backward(call, forward, wanted))
                })
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

/// Attention to no keys, or with an empty result: zeros.
pub(super) struct Nothing {
    pub(super) sizes: Sizes,
}

impl Operation<3> for Nothing {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, _: [&Layout; 3]) -> Result<Shape> {
        Ok(Shape::from(self.sizes.result().to_vec()))
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; 3]) -> Result<CpuStorage> {
        self.portable(operands)
    }

    fn portable<S: Stored>(&self, [(q, _), ..]: [Operand<'_, S>; 3]) -> Result<S> {
        let shape = Shape::from(self.sizes.result().to_vec());
        q.device().zeros_impl(&shape, q.dtype())
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
