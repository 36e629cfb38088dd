//! Stages: a model as a sequence of parts, which can be entered in the middle and left early.

mod list;
mod places;
mod staged;
mod summary;
mod watch;

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::ops::Range;

use crate::error::Result;
use crate::model::Freezable;
use crate::plan::FreezePlan;

pub use list::StageList;
pub use staged::Staged;
pub(crate) use staged::{onward, through};
pub use summary::StageSummary;
pub(crate) use watch::Watch;

/// One stage of a model: a variant of the enum that `#[freeze(stages)]` writes, such as
/// `NetStage::Blocks(3)`.
///
/// `Display` prints its path, `blocks.3`, which is the prefix of its leaves' paths; `Ord` is the
/// order in the model.
pub trait Stage: Copy + Ord + Hash + Debug + Display + Send + Sync + 'static {}

/// A model whose fields are the stages of its forward, in the order of their declaration. Put
/// `#[freeze(stages)]` beside `#[derive(Freezable)]`; [`Staged`] then says what each stage computes.
///
/// ```
/// use candle_nn::Linear;
/// use freeze_core::{Freezable, FreezePlan, Stages};
///
/// #[derive(Freezable)]
/// #[freeze(stages)]
/// struct Net {
///     stem: Linear,          // NetStage::Stem
///     blocks: Vec<[Linear; 2]>, // NetStage::Blocks(0, 0), NetStage::Blocks(0, 1), ..
///     neck: Option<Linear>,  // NetStage::Neck, if there is one
///     head: Linear,          // NetStage::Head
/// }
/// # let linear = || Linear::new(candle_core::Tensor::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap(), None);
///
/// let net = Net { stem: linear(), blocks: vec![[linear(), linear()]], neck: None, head: linear() };
/// let paths: Vec<String> = net.stages().iter().map(|stage| stage.to_string()).collect();
/// assert_eq!(paths, ["stem", "blocks.0.0", "blocks.0.1", "head"]);
/// assert_eq!(net.first_leaf(NetStage::Head)?, 3);
///
/// let plan = FreezePlan::front_frozen(&net, 2)?;
/// assert_eq!(net.frozen_boundary(&plan)?, Some(NetStage::Blocks(0, 1)));
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no stages",
    label = "not a struct of stages",
    note = "put `#[freeze(stages)]` beside `#[derive(Freezable)]` on the struct: each of its fields is a stage",
    note = "a `View`, `Freezer` or `Training`: call the methods on it, or hand over the model that it derefs to"
)]
pub trait Stages: Freezable {
    /// The enum of the model's stages, written by the derive.
    type Stage: Stage;

    /// Calls `see` with every stage that this value has, in order.
    fn each_stage(&self, see: &mut dyn FnMut(Self::Stage));

    /// The stages that this value has, in order: one for each item of a list, none for an `Option`
    /// without a value.
    fn stages(&self) -> Vec<Self::Stage> {
        let mut stages = Vec::new();
        self.each_stage(&mut |stage| stages.push(stage));
        stages
    }

    /// The number of leaves in front of `stage`: `freeze_upto` of it freezes all that is declared
    /// before it.
    ///
    /// # Errors
    ///
    /// The model has no such stage.
    fn first_leaf(&self, stage: Self::Stage) -> Result<usize> {
        Ok(self.stage_leaves(stage)?.start)
    }

    /// The indices of the leaves of `stage`; empty for a stage without parameters.
    ///
    /// # Errors
    ///
    /// The model has no such stage.
    fn stage_leaves(&self, stage: Self::Stage) -> Result<Range<usize>> {
        places::position(&self.stages(), &stage)?;
        places::leaves_of(&|mapper| self.visit_params(mapper), &Self::LEAVES, &stage.to_string())
    }

    /// The first stage that trains a leaf under `plan`, or shares a tensor with a leaf that trains:
    /// no parameter in front of it changes. `None` if there is no such stage.
    ///
    /// A leaf that belongs to no stage may be used by any: while it trains, the first stage is the
    /// boundary. What changes without being trained is not considered: running statistics that the
    /// caller updates, dropout, state that a forward stores.
    ///
    /// # Errors
    ///
    /// The plan was made for another model.
    fn frozen_boundary(&self, plan: &FreezePlan) -> Result<Option<Self::Stage>> {
        let stages = self.stages();
        Ok(stages.get(frozen_front(self, &stages, plan)?).copied())
    }
}

/// The number of the model's `stages` in front of its [`frozen_boundary`](Stages::frozen_boundary); all
/// of them where there is none.
pub(crate) fn frozen_front<M: Stages>(
    model: &M,
    stages: &[M::Stage],
    plan: &FreezePlan,
) -> Result<usize> {
    let paths: Vec<String> = stages.iter().map(ToString::to_string).collect();
    let first = places::first_moving(&|mapper| model.visit_params(mapper), &paths, plan)?;
    Ok(first.unwrap_or(stages.len()))
}
