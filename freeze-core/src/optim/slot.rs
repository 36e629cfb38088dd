//! What an optimizer keeps for one parameter: the variable, its shares of rate and decay, moments and step
//! count.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use super::MasterWeights;
use super::share::Share;
use crate::error::Result;
use crate::kernel::update::{Rows, State};
use crate::kernel::{StorageId, bytes_of, real_dtype};
use crate::plan::{LeafState, Measured, PlannedVar};

/// One parameter with its state in the plan and its optimizer state.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) var: Var,
    /// Where the variable's elements are, which does not change.
    pub(super) storage: StorageId,
    /// Whether an earlier slot has that storage, too.
    pub(super) shares_storage: bool,
    /// The full name, once known; it does not change then.
    pub(super) name: Option<Arc<str>>,
    /// The path of the leaf that holds the parameter, once known.
    pub(super) leaf: Arc<str>,
    /// The other names of a tied parameter, each with its leaf.
    pub(super) ties: Arc<[(Arc<str>, Arc<str>)]>,
    /// The leaf by the name alone, where that was all there was: groups that were set by it hold on.
    pub(super) guessed: Option<Arc<str>>,
    /// The type name of the leaf that holds the parameter, once known.
    pub(super) kind: &'static str,
    pub(super) planned: LeafState,
    /// What the parameter groups set.
    pub(super) share: Share,
    /// Whether it is declared to have no weight decay.
    no_decay: bool,
    /// How many updates the parameter has had since its state began.
    pub(super) steps: u64,
    /// Moments and master weights; allocated by the first update.
    pub(super) state: Option<State>,
    /// What the last update measured, until it is taken.
    pub(super) measured: Option<Measured>,
}

impl Slot {
    /// A slot that is trained and has no name.
    pub(super) fn new(var: Var) -> Self {
        Self {
            storage: StorageId::of(&var),
            shares_storage: false,
            var,
            name: None,
            leaf: "".into(),
            ties: Arc::default(),
            guessed: None,
            kind: "",
            planned: LeafState::TRAINED,
            share: Share::default(),
            no_decay: false,
            steps: 0,
            state: None,
            measured: None,
        }
    }

    /// A slot with its name and state from a plan.
    pub(super) fn planned(planned: PlannedVar) -> Self {
        let PlannedVar { name, leaf, ties, kind, var, state, no_decay, .. } = planned;
        let (name, guessed) = (Some(name), kind.is_empty().then(|| leaf.clone()));
        Self { name, leaf, ties, guessed, kind, planned: state, no_decay, ..Self::new(var) }
    }

    /// Takes over name, leaf and state from a plan; a name that it already has stays.
    pub(super) fn learn(&mut self, planned: PlannedVar) {
        let PlannedVar { name, leaf, ties, kind, state, no_decay, .. } = planned;
        if self.name.as_ref().is_none_or(|known| *known == name) {
            (self.name, self.leaf, self.ties) = (Some(name), leaf, ties);
        }
        self.kind = kind;
        self.planned = state;
        self.no_decay = no_decay;
    }

    /// The weight decay: that of a group, else 0 if declared `no_decay`, else the optimizer's own.
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

    /// The rows of state that the parameter needs under a rule with this many moments.
    pub(super) fn rows(&self, moments: usize, masters: MasterWeights) -> Rows {
        let half = self.acc() != self.var.dtype();
        Rows { moments, master: half && masters == MasterWeights::F32 }
    }

    /// Allocates or moves the state, so that it has `rows` and is on the parameter's device.
    pub(super) fn ensure_state(&mut self, rows: Rows) -> Result<()> {
        let there = |state: &State| state.tensor.device().same_device(self.var.device());
        if !self.state.as_ref().is_some_and(|state| state.rows == rows && there(state)) {
            self.state = self.state_of(rows)?;
        }
        Ok(())
    }

    /// The state that the next update starts with: existing rows as they are, missing moments as
    /// zero, and a missing master weight as a copy of the parameter.
    pub(super) fn state_of(&self, rows: Rows) -> Result<Option<State>> {
        if rows.count() == 0 {
            return Ok(None);
        }
        let tensor = self.zeros(rows)?;
        if self.var.elem_count() == 0 {
            return Ok(Some(State { tensor, rows }));
        }
        let known = self.state.as_ref();
        if let Some(known) = known.filter(|known| known.rows.moments == rows.moments) {
            let moments = known.tensor.narrow(0, 0, rows.moments)?.to_device(tensor.device())?;
            tensor.slice_set(&moments.contiguous()?, 0, 0)?;
        }
        if rows.master {
            let master = match known.filter(|known| known.rows.master) {
                Some(known) => known.tensor.narrow(0, known.rows.moments, 1)?,
                None => self.var.as_detached_tensor().to_dtype(self.acc())?.reshape((1, ()))?,
            };
            let master = master.to_device(tensor.device())?.contiguous()?;
            tensor.slice_set(&master, 0, rows.moments)?;
        }
        Ok(Some(State { tensor, rows }))
    }

    /// State of zeros. On the CPU, that of a large parameter starts at an offset of a little more
    /// than a page. Allocators like mimalloc place large arrays at equal distances from powers of
    /// two; then parameter, gradient and moments evict each other from the first-level cache (AMD's
    /// way predictor confuses them; the update took three times as long).
    pub(super) fn zeros(&self, rows: Rows) -> Result<Tensor> {
        const SKEW: usize = 1280;
        const LARGE: usize = 1 << 16;
        let (rows, len, device) = (rows.count(), self.var.elem_count(), self.var.device());
        if len < LARGE || !device.is_cpu() {
            return Ok(Tensor::zeros((rows, len), self.acc(), device)?);
        }
        let room = Tensor::zeros(SKEW + rows * len, self.acc(), device)?;
        Ok(room.narrow(0, SKEW, rows * len)?.reshape((rows, len))?)
    }

    pub(super) fn acc(&self) -> DType {
        real_dtype(self.var.dtype()).unwrap_or(DType::F32)
    }

    /// Frees the state; returns its bytes.
    pub(super) fn drop_state(&mut self) -> usize {
        self.steps = 0;
        self.state.take().map_or(0, |state| bytes_of(&state.tensor))
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| bytes_of(&state.tensor))
    }

    /// The name, or if there is none, the index among the optimizer's variables and the shape.
    pub(super) fn label(&self, index: usize) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("variable {index} {:?}", self.var.dims()),
        }
    }
}
