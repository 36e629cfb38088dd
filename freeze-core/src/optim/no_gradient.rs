//! A step that reaches nothing is an error, not silence.

use crate::error::{Error, Result};

/// The error of a step in which no variable of `owned`, `trained` of them under the plan, got a
/// gradient; fine if all of them are frozen.
pub(crate) fn reached_nothing(owned: usize, trained: usize) -> Result<()> {
    let hint = match (owned, trained) {
        (0, _) => {
            ": the optimizer has no variables at all; a model of plain tensors, such as one loaded \
             from a file, needs `into_trainable()` first"
        }
        (_, 0) => return Ok(()),
        _ => {
            ": the loss does not depend on them, or an operation without a backward lies between \
             (candle's fused layer norm, rms norm and softmax have none)"
        }
    };
    Err(Error::NoGradient { trained, hint })
}
