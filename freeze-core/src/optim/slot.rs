//! What an optimizer knows of one parameter.

use candle_core::{DType, Tensor, Var};

use super::PlannedVar;
use super::groups::Share;
use super::kernel::acc_dtype;
use crate::{LeafState, Result};

/// One parameter with its place in the plan and its state.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) var: Var,
    /// The full name, once known; from then on it stays.
    pub(super) name: Option<String>,
    /// The path of the leaf that holds the parameter, once known.
    pub(super) leaf: String,
    /// The type name of the leaf that holds the parameter, once known.
    pub(super) kind: &'static str,
    pub(super) planned: LeafState,
    /// What the parameter groups say.
    pub(super) share: Share,
    /// Declared to have no weight decay.
    no_decay: bool,
    /// How many updates the parameter has had since its state began.
    pub(super) steps: u64,
    /// `(moments, elements)`; made by the first update.
    pub(super) state: Option<Tensor>,
}

impl Slot {
    /// Trained and without a name.
    pub(super) fn new(var: Var) -> Self {
        let (name, leaf, share) = (None, String::new(), Share::default());
        let planned = LeafState::TRAINED;
        let no_decay = false;
        Self { var, name, leaf, kind: "", planned, share, no_decay, steps: 0, state: None }
    }

    /// With a name, and as a plan has it.
    pub(super) fn planned(planned: PlannedVar) -> Self {
        let PlannedVar { name, leaf, kind, var, state, no_decay } = planned;
        Self { name: Some(name), leaf, kind, planned: state, no_decay, ..Self::new(var) }
    }

    /// Learns what a plan knows of the parameter; a name it has already stays.
    pub(super) fn learn(&mut self, planned: PlannedVar) {
        let PlannedVar { name, leaf, kind, state, no_decay, .. } = planned;
        if self.name.as_ref().is_none_or(|known| *known == name) {
            (self.name, self.leaf) = (Some(name), leaf);
        }
        self.kind = kind;
        self.planned = state;
        self.no_decay = no_decay;
    }

    /// The weight decay: what a group says, none where that is declared, the optimizer's own.
    pub(super) fn weight_decay(&self, own: f64) -> f64 {
        self.share.weight_decay.unwrap_or(if self.no_decay { 0.0 } else { own })
    }

    /// The share of the learning rate, or `None` if frozen.
    pub(super) fn lr_scale(&self) -> Option<f64> {
        match self.planned {
            LeafState::Frozen => None,
            LeafState::Trained { lr_scale } => Some(lr_scale * self.share.lr_scale),
        }
    }

    /// Makes sure that there is state for `moments` moments on the parameter's device.
    pub(super) fn ensure_state(&mut self, moments: usize) -> Result<()> {
        if moments == 0 {
            return Ok(());
        }
        let device = self.var.device();
        let made = match &self.state {
            Some(state) if state.device().same_device(device) => return Ok(()),
            Some(state) => state.to_device(device)?,
            None => self.zeros(moments)?,
        };
        self.state = Some(made);
        Ok(())
    }

    /// State to begin with. On the CPU the moments of a large parameter start behind a page and a
    /// bit: allocators like mimalloc place large arrays at equal distances from powers of two, and
    /// then parameter, gradient and moments drive each other out of the first-level cache, line by
    /// line (AMD's way predictor takes them for one another; the update took three times as long).
    pub(super) fn zeros(&self, moments: usize) -> Result<Tensor> {
        const SKEW: usize = 1280;
        const LARGE: usize = 1 << 16;
        let (len, device) = (self.var.elem_count(), self.var.device());
        if len < LARGE || !device.is_cpu() {
            return Ok(Tensor::zeros((moments, len), self.acc(), device)?);
        }
        let room = Tensor::zeros(SKEW + moments * len, self.acc(), device)?;
        Ok(room.narrow(0, SKEW, moments * len)?.reshape((moments, len))?)
    }

    pub(super) fn acc(&self) -> DType {
        acc_dtype(self.var.dtype()).unwrap_or(DType::F32)
    }

    /// Forgets the state; returns its bytes.
    pub(super) fn drop_state(&mut self) -> usize {
        self.steps = 0;
        self.state.take().as_ref().map_or(0, bytes)
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, bytes)
    }

    /// The name, or the place among the optimizer's variables and the shape.
    pub(super) fn label(&self, index: usize) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!("variable {index} {:?}", self.var.dims()),
        }
    }
}

pub(super) fn bytes(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}
