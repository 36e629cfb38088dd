//! What a run can show its policy besides its variables.

use std::fmt;

use candle_core::Tensor;

use crate::policy::Output;

/// Computes the outputs of stages on a fixed batch.
pub(super) type Probe<M> = Box<dyn Fn(&M) -> candle_core::Result<Vec<Output>> + Send>;

/// Computes the loss of a typical batch.
pub(super) type Loss<M> = Box<dyn Fn(&M) -> candle_core::Result<Tensor> + Send>;

/// What the run can show besides its variables.
pub(super) struct Shows<M> {
    pub(super) probe: Option<Probe<M>>,
    pub(super) loss: Option<Loss<M>>,
}

impl<M> Default for Shows<M> {
    fn default() -> Self {
        Self { probe: None, loss: None }
    }
}

impl<M> fmt::Debug for Shows<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (probe, loss) = (self.probe.is_some(), self.loss.is_some());
        f.debug_struct("Shows").field("probe", &probe).field("loss", &loss).finish()
    }
}
