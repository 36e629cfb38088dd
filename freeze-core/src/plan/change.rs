//! What applying a plan changed.

use std::fmt;

use super::{FreezePlan, PlannedVar, Released, Tie};
use crate::error::listed;
use crate::kernel::bytes_of;

/// What applying a plan changed in model and optimizers; it prints as sentences.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Linear, ParamsAdamW, VarBuilder, VarMap, linear};
/// use freeze_core::{Freezable, Freezer, optim::AdamW};
///
/// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
/// let mut net = Freezer::new(vec![linear(8, 8, vb.pp("a"))?, linear(8, 2, vb.pp("b"))?])?;
/// let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
/// let change = net.freeze_front(1, &mut [&mut opt])?;
/// assert_eq!(
///     change.to_string(),
///     "froze `0`: 72 parameters, 288 bytes of gradients in each step, 0 bytes of optimizer state freed. \
///      18 parameters train."
/// );
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Paths of the leaves that froze.
    pub frozen: Vec<String>,
    /// Paths of the leaves that thawed.
    pub thawed: Vec<String>,
    /// Tied parameters that go on training although a leaf that holds them is frozen.
    pub ties: Vec<Tie>,
    /// Parameters (elements) that stopped training.
    pub parameters_released: usize,
    /// Bytes that the gradients of those parameters took at every step.
    pub gradient_bytes_released: usize,
    /// Bytes of optimizer state freed; `None` if an optimizer cannot tell.
    pub state_bytes_released: Option<usize>,
    /// Parameters (elements) that train under the new plan.
    pub parameters_trained: usize,
}

impl Change {
    pub(crate) fn new(
        (old, before): (&FreezePlan, &[PlannedVar]),
        (new, after): (&FreezePlan, &[PlannedVar]),
        ties: Vec<Tie>,
        released: &[Released],
    ) -> Self {
        let turned = |from: &FreezePlan, to: &FreezePlan| {
            let states = from.states().iter().zip(to.states()).zip(to.paths());
            let turned = states.filter(|((from, to), _)| !from.is_frozen() && to.is_frozen());
            turned.map(|(_, path)| path.clone()).collect()
        };
        let stopped = || {
            let pairs = before.iter().zip(after);
            pairs.filter(|(b, a)| !b.state.is_frozen() && a.state.is_frozen()).map(|(_, a)| &a.var)
        };
        let trained = after.iter().filter(|var| !var.state.is_frozen());
        Self {
            frozen: turned(old, new),
            thawed: turned(new, old),
            ties,
            parameters_released: stopped().map(|var| var.elem_count()).sum(),
            gradient_bytes_released: stopped().map(|var| bytes_of(var)).sum(),
            state_bytes_released: released.iter().map(|released| released.state_bytes).sum(),
            parameters_trained: trained.map(|var| var.var.elem_count()).sum(),
        }
    }

    /// Whether no leaf froze or thawed.
    pub fn is_empty(&self) -> bool {
        self.frozen.is_empty() && self.thawed.is_empty()
    }

    /// Emits one `tracing` event if the plan froze or thawed something.
    pub(crate) fn trace(&self) {
        if self.is_empty() {
            return;
        }
        tracing::info!(
            frozen = self.frozen.join(" "),
            thawed = self.thawed.join(" "),
            ties = self.ties.len(),
            parameters_released = self.parameters_released,
            parameters_trained = self.parameters_trained,
            "freeze plan changed"
        );
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.frozen.is_empty() {
            let (frozen, gradients) = (listed(&self.frozen), self.gradient_bytes_released);
            let parameters = self.parameters_released;
            write!(
                f,
                "froze {frozen}: {parameters} parameters, {gradients} bytes of gradients in each step"
            )?;
            match self.state_bytes_released {
                Some(state) => write!(f, ", {state} bytes of optimizer state freed. ")?,
                None => write!(f, ". ")?,
            }
        }
        if !self.thawed.is_empty() {
            write!(f, "thawed {}. ", listed(&self.thawed))?;
        }
        for tie in &self.ties {
            write!(f, "{tie}. ")?;
        }
        write!(f, "{} parameters train.", self.parameters_trained)
    }
}
