//! The error of a step that updates no parameter.

use crate::error::{Error, Result};

/// For a step in which none of the optimizer's `owned` variables got a gradient, `trained` of which
/// train under the plan: an error, unless there are variables and all are frozen.
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
