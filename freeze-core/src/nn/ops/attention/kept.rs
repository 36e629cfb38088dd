//! A call of attention: its settings, and what its forward keeps for its backward.

use std::sync::OnceLock;

use candle_core::{Result, Tensor};

use crate::kernel::attention::{Bias, Call, Heads, Order, RowStats, Sight, Sizes};
use crate::kernel::slices::with;
use crate::kernel::{Drops, Real};
use crate::nn::record::Flops;

/// The operation on queries, keys and values.
pub(super) struct Attention {
    pub(super) sizes: Sizes,
    /// How the result lies.
    pub(super) order: Order,
    pub(super) scale: f64,
    pub(super) sight: Sight,
    /// Contiguous, with four dimensions.
    pub(super) bias: Option<Tensor>,
    pub(super) drops: Option<Drops>,
    /// Computed by the forward on the CPU, used by the backward there.
    pub(super) stats: OnceLock<Vec<RowStats>>,
}

impl Attention {
    pub(super) fn new(
        (sizes, order): (Sizes, Order),
        scale: f64,
        (sight, bias): (Sight, Option<Tensor>),
        drops: Option<Drops>,
    ) -> Self {
        Self { sizes, order, scale, sight, bias, drops, stats: OnceLock::new() }
    }

    /// Two products in the forward, five in the backward.
    pub(super) fn flops(&self) -> Flops {
        let forward = 2 * self.sizes.multiplications() as u64;
        Flops { forward, input: forward / 2 * 5, weight: 0 }
    }

    /// Runs `run` on a call with these operands.
    pub(super) fn call<T: Real, R>(
        &self,
        [q, k, v]: [Heads<'_, T>; 3],
        run: impl FnOnce(&Call<'_, T>) -> R,
    ) -> Result<R> {
        let Self { sizes, order, scale, sight, ref bias, drops, .. } = *self;
        let Some(tensor) = bias else {
            return Ok(run(&Call { sizes, q, k, v, order, scale, sight, bias: None, drops }));
        };
        let strides = steps(tensor);
        with(tensor, |values: &[T]| {
            let bias = Some(Bias { values, strides });
            Ok(run(&Call { sizes, q, k, v, order, scale, sight, bias, drops }))
        })
    }
}

/// The steps in a mask from one batch, head and query to the next; 0 if they share rows.
pub(super) fn steps(mask: &Tensor) -> [usize; 3] {
    std::array::from_fn(|dim| match mask.dims()[dim] {
        1 => 0,
        _ => mask.stride()[dim],
    })
}
