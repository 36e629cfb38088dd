//! Whether a stage comes to the same result when it runs again.

use candle_core::{Error, Result, Tensor};

use crate::error::Error as Ours;
use crate::kernel::{Element, by_element, slices, wide};

/// Refuses a result that is not the one that `before` was. Numbers are compared on the CPU, where equal
/// calls give equal bits.
pub(super) fn check_same(before: &Tensor, now: &Tensor) -> Result<()> {
    let alike = before.dtype() == now.dtype() && before.dims() == now.dims();
    if alike && (!before.device().is_cpu() || is_equal(before, now)?) {
        return Ok(());
    }
    Err(changed())
}

pub(super) fn changed() -> Error {
    let why = "run again it came to another result; a dropout has to be one of `freeze_core::nn`, \
               nothing else may draw or remember, and no weight may change between the forward and the \
               backward";
    Ours::Recompute { why: why.to_string() }.into()
}

fn is_equal(before: &Tensor, now: &Tensor) -> Result<bool> {
    let now = now.contiguous()?;
    by_element!(before.dtype(), "recompute", T => {
        slices::with2([before, &now], |before: &[T], now: &[T]| Ok(are_equal(before, now)))
    })
}

/// NaN is equal to NaN.
#[expect(clippy::eq_op, reason = "NaN alone is not equal to itself")]
fn are_equal<T: Element>(before: &[T], now: &[T]) -> bool {
    // Counted to the end, since a loop that may stop early does not run at the processor's width.
    wide(
        #[inline(always)]
        || before.iter().zip(now).filter(|(a, b)| a != b && (a == a || b == b)).count() == 0,
    )
}
