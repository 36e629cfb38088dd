//! Checks that a stage returns the same result when it runs again.

use candle_core::{Error, Result, Tensor};

use crate::error::Error as Ours;
use crate::kernel::{Element, by_element, slices, wide};

/// An error if `now` differs from `before`. Numbers are compared only on the CPU, where equal calls
/// give equal bits.
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
    // Counts to the end, because a loop that may stop early is not vectorised.
    wide(
        #[inline(always)]
        || before.iter().zip(now).filter(|(a, b)| a != b && (a == a || b == b)).count() == 0,
    )
}
