//! What a step showed.

use std::sync::Arc;

use candle_core::Tensor;

use super::seen::Seen;
use super::{Elapsed, Moment, Needs};
use crate::error::Result;
use crate::forecast::Calibration;
use crate::model::Staged;
use crate::plan::Norms;

/// What a policy gets to see of a step: of each trained variable that had a gradient, what the
/// policy [needs](super::Needs), once for each trained leaf that holds the variable
/// ([`Seen::is_again`] tells which are further ones).
///
/// A run makes it; for tests, or in a loop of another kind, it can be made by hand.
///
/// ```
/// use freeze_core::{Elapsed, Norms};
/// use freeze_core::policy::{Observation, Seen};
///
/// let at = Elapsed::new(0, 1).at_step(1, 10);
/// let seen = Observation::after_step(at, 0.7)
///     .tensor(Seen::new(2, "body.1.weight", 12).gradient(Norms { l1: 3.0, l2: 1.5 }))
///     .tensor(Seen::new(2, "body.1.bias", 4).gradient(Norms { l1: 1.0, l2: 2.0 }));
/// let whole = seen.leaf_norms(2, Seen::gradient_norms)?.expect("two tensors");
/// assert_eq!((whole.l1, whole.l2), (4.0, 2.5));
/// assert!(seen.leaf_norms(0, Seen::gradient_norms)?.is_none());
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Observation {
    at: Elapsed,
    moment: Moment,
    loss: Option<f64>,
    tensors: Vec<Seen>,
    outputs: Vec<Output>,
    costs: Option<Arc<Calibration>>,
}

/// The output of one stage on the probe batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// The number of leaves from the front up to the end of the stage.
    pub leaves: usize,
    /// The output, with the samples in its first dimension.
    pub tensor: Tensor,
}

impl Output {
    /// The outputs of a model's stages that have leaves: what [`Training::probe`](crate::Training::probe) takes.
    ///
    /// # Errors
    ///
    /// Those of [`Staged::run`].
    pub fn of_stages<M: Staged<Flow = Tensor>>(
        model: &M,
        batch: &Tensor,
        context: &M::Context,
    ) -> candle_core::Result<Vec<Self>> {
        let (mut tensor, mut outputs) = (batch.clone(), Vec::new());
        for stage in model.stages() {
            tensor = model.run(stage, tensor, context)?;
            let leaves = model.stage_leaves(stage)?;
            if !leaves.is_empty() {
                outputs.push(Self { leaves: leaves.end, tensor: tensor.clone() });
            }
        }
        Ok(outputs)
    }
}

/// What a run shows a policy besides its variables.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The outputs of stages on the probe batch, from the front.
    pub outputs: Vec<Output>,
    /// The measured costs of the model's operations.
    pub costs: Option<Arc<Calibration>>,
}

impl Observation {
    /// What a step with this loss showed; `at` counts it as completed.
    pub fn after_step(at: Elapsed, loss: f64) -> Self {
        Self { loss: Some(loss), moment: Moment::Step, ..Self::at_start(at) }
    }

    /// What can be seen before the first step.
    pub fn at_start(at: Elapsed) -> Self {
        let (tensors, outputs) = (Vec::new(), Vec::new());
        Self { at, moment: Moment::Start, loss: None, tensors, outputs, costs: None }
    }

    /// Adds what was seen of one variable.
    pub fn tensor(mut self, seen: Seen) -> Self {
        self.tensors.push(seen);
        self
    }

    /// Adds the outputs of stages on the probe batch, from the front.
    pub fn outputs(self, outputs: Vec<Output>) -> Self {
        Self { outputs, ..self }
    }

    /// Adds the measured costs of the model's operations.
    pub fn costs(self, costs: Arc<Calibration>) -> Self {
        Self { costs: Some(costs), ..self }
    }

    /// Adds what the run shows besides.
    pub(crate) fn shown(self, shown: Shown) -> Self {
        Self { outputs: shown.outputs, costs: shown.costs, ..self }
    }

    /// The same with other progress: for a policy to which a part of the run is the whole.
    pub(super) fn timed(&self, at: Elapsed) -> Self {
        Self { at, ..self.clone() }
    }

    /// The progress when it was asked for, which is before the step.
    pub(super) fn asked_at(&self) -> Elapsed {
        let before = usize::from(!self.is_at_start());
        Elapsed { step: self.at.step.saturating_sub(before), ..self.at }
    }

    /// What of it was needed: for one of several policies.
    pub(super) fn only(&self, needs: Needs) -> Self {
        let outputs = if needs.contains(Needs::OUTPUTS) { &self.outputs[..] } else { &[] };
        Self {
            tensors: self.tensors.iter().map(|seen| seen.clone().only(needs)).collect(),
            outputs: outputs.to_vec(),
            costs: self.costs.clone().filter(|_| needs.contains(Needs::COSTS)),
            ..*self
        }
    }

    /// The progress of the run, this step included.
    pub fn at(&self) -> Elapsed {
        self.at
    }

    /// Whether it was before the first step.
    pub fn is_at_start(&self) -> bool {
        self.moment == Moment::Start
    }

    /// The loss of the step.
    pub fn loss(&self) -> Option<f64> {
        self.loss
    }

    /// What was seen of each variable, in the order of the leaves.
    pub fn tensors(&self) -> &[Seen] {
        &self.tensors
    }

    /// What was seen of the variables of the leaf at `index`.
    pub fn leaf(&self, index: usize) -> impl Iterator<Item = &Seen> {
        self.tensors.iter().filter(move |seen| seen.leaf() == index)
    }

    /// A norm of all variables of the leaf at `index` together; `None` if it was not seen.
    ///
    /// # Errors
    ///
    /// A number is infinite or NaN, or its device failed.
    pub fn leaf_norms(
        &self,
        index: usize,
        norms: impl Fn(&Seen) -> Result<Option<Norms>>,
    ) -> Result<Option<Norms>> {
        let mut sum: Option<(f64, f64)> = None;
        for seen in self.leaf(index) {
            if let Some(Norms { l1, l2 }) = norms(seen)? {
                let (l1s, squares) = sum.unwrap_or_default();
                sum = Some((l1s + l1, squares + l2 * l2));
            }
        }
        Ok(sum.map(|(l1, squares)| Norms { l1, l2: squares.sqrt() }))
    }

    /// The outputs of stages on the probe batch, from the front.
    pub fn stage_outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The measured costs of the model's operations.
    pub fn calibration(&self) -> Option<&Arc<Calibration>> {
        self.costs.as_ref()
    }
}
