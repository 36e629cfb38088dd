//! Operands that lie as cuBLAS wants them: it chooses its kernels without a look at the addresses of matrices, which have
//! to be multiples of 16 bytes, or the card may fault. In what is contiguous they are wherever it matters, since then
//! sizes are, too.

use candle_core::{Result, Tensor};

use crate::kernel::attention::{Order, Sizes};
use crate::kernel::slices::rows_are_whole;
use crate::nn::ops::attention::heads::apart;
use crate::nn::ops::attention::kept::Attention;
use crate::nn::ops::shape::merge_heads;
use crate::nn::record::{self, Work};

/// The result of a call on a card, side by side if that is the order.
pub(in super::super) fn attend(
    operands: [&Tensor; 3],
    order: Order,
    sizes: &Sizes,
    op: impl FnOnce(Order) -> Attention,
) -> Result<Tensor> {
    let fits = |size: usize| (size * operands[0].dtype().size_in_bytes()).is_multiple_of(ALIGNED);
    let merges = order == Order::SideBySide && !(fits(sizes.inner) && fits(sizes.width));
    let (op, operands) = match merges {
        true => (op(Order::Apart), apart(operands, sizes)?),
        false => (op(order), operands.map(Tensor::clone)),
    };
    let [q, k, v] = operands.each_ref().map(aligned);
    let y = record::apply_to_views([&q?, &k?, &v?], Work::Inputs(op.flops()), op)?;
    if merges { merge_heads(&y) } else { Ok(y) }
}

/// The bytes of which addresses are multiples.
const ALIGNED: usize = 16;

/// The tensor, or a copy if its rows are not whole, or it does not lie as cuBLAS wants it.
pub(super) fn aligned(tensor: &Tensor) -> Result<Tensor> {
    let (layout, bytes) = (tensor.layout(), tensor.dtype().size_in_bytes());
    let fits = |elements: usize| (elements * bytes).is_multiple_of(ALIGNED);
    let steps = layout.dims().iter().zip(layout.stride()).rev().skip(1);
    let well = tensor.is_contiguous() || steps.into_iter().all(|(n, step)| *n <= 1 || fits(*step));
    match well && rows_are_whole(layout) && fits(layout.start_offset()) {
        true => Ok(tensor.clone()),
        false => tensor.force_contiguous(),
    }
}
