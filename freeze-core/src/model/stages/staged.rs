//! Running a model stage by stage: the user writes one stage's forward, the rest is provided.

use super::Stages;
use super::places::position;
use super::watch::watched;
use crate::error::Error;
use crate::model::Flow;

/// A model that can be entered and left at any stage. The user writes what each stage computes, and
/// the compiler checks that none is forgotten.
///
/// A stage uses its input, the context, its own field and fields that are `#[freeze(no_stage)]`.
/// Views can be entered as the model can: frozen stages record no graph.
///
/// ```
/// use candle_core::{Result, Tensor};
/// use candle_nn::{Embedding, Linear, Module};
/// use freeze_core::{Freezable, Freezer, Stages, Staged};
///
/// #[derive(Freezable)]
/// #[freeze(stages)]
/// struct Net {
///     embed: Embedding,
///     blocks: Vec<Linear>,
///     head: Linear,
/// }
///
/// impl Staged for Net {
///     type Flow = Tensor;    // between the stages
///     type Context = Tensor; // what every stage sees: a mask; `()` if nothing
///
///     fn run(&self, stage: NetStage, xs: Tensor, mask: &Tensor) -> Result<Tensor> {
///         match stage {
///             NetStage::Embed => self.embed.forward(&xs),
///             NetStage::Blocks(i) => self.blocks[i].forward(&xs)?.broadcast_mul(mask),
///             NetStage::Head => self.head.forward(&xs),
///         }
///     }
/// }
///
/// # use candle_core::{DType, Device};
/// # let vb = candle_nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
/// # let linear = |name| candle_nn::linear(2, 2, vb.pp(name));
/// # let net = Net { embed: candle_nn::embedding(8, 2, vb.pp("e"))?, blocks: vec![linear("a")?, linear("b")?], head: linear("h")? };
/// # let (tokens, mask) = (Tensor::new(&[1u32, 2], &Device::Cpu)?, Tensor::ones((2, 1), DType::F32, &Device::Cpu)?);
/// let net = Freezer::new(net.into_trainable()?)?;
/// let scores = net.forward(tokens.clone(), &mask)?;
/// let hidden = net.forward_to(NetStage::Blocks(1), tokens, &mask)?; // what enters `blocks.1`
/// let again = net.forward_from(NetStage::Blocks(1), hidden, &mask)?;
/// assert_eq!(scores.to_vec2::<f32>()?, again.to_vec2::<f32>()?);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its stages compute",
    label = "no `Staged`",
    note = "write `impl Staged for {Self}` with `fn run(&self, stage, xs, context)`, a `match` over its stages"
)]
pub trait Staged: Stages {
    /// The value that flows into the first stage, from stage to stage, and out of the last.
    type Flow: Flow;
    /// A further input of every stage, such as a mask; `()` if there is none.
    type Context: ?Sized;

    /// The forward of one stage.
    ///
    /// # Errors
    ///
    /// Those of its layers.
    fn run(
        &self,
        stage: Self::Stage,
        xs: Self::Flow,
        context: &Self::Context,
    ) -> candle_core::Result<Self::Flow>;

    /// Runs all stages. One of a model's own has to compute the same as this one: a cache and recomputation
    /// run the stages.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    fn forward(&self, xs: Self::Flow, context: &Self::Context) -> candle_core::Result<Self::Flow> {
        through(self, &self.stages(), xs, context)
    }

    /// Runs `stage` and all after it; `xs` is the input of `stage`.
    ///
    /// # Errors
    ///
    /// The model has no such stage, or those of [`run`](Self::run).
    fn forward_from(
        &self,
        stage: Self::Stage,
        xs: Self::Flow,
        context: &Self::Context,
    ) -> candle_core::Result<Self::Flow> {
        let stages = self.stages();
        let at = position(&stages, &stage)?;
        through(self, &stages[at..], xs, context)
    }

    /// Runs all stages before `stage` and returns the input of `stage`.
    ///
    /// # Errors
    ///
    /// The model has no such stage, or those of [`run`](Self::run).
    fn forward_to(
        &self,
        stage: Self::Stage,
        xs: Self::Flow,
        context: &Self::Context,
    ) -> candle_core::Result<Self::Flow> {
        let stages = self.stages();
        let at = position(&stages, &stage)?;
        through(self, &stages[..at], xs, context)
    }

    /// Runs `from` and the stages up to, without, `to`; returns the input of `to`.
    ///
    /// # Errors
    ///
    /// The model has no such stage, `to` is before `from`, or those of [`run`](Self::run).
    fn forward_between(
        &self,
        from: Self::Stage,
        to: Self::Stage,
        xs: Self::Flow,
        context: &Self::Context,
    ) -> candle_core::Result<Self::Flow> {
        let stages = self.stages();
        let (start, end) = (position(&stages, &from)?, position(&stages, &to)?);
        let Some(between) = stages.get(start..end) else {
            let why = format!("it lies in front of `{from}`, from where the forward was to go on");
            return Err(Error::Stage { stage: to.to_string(), why }.into());
        };
        through(self, between, xs, context)
    }
}

/// Runs the stages from number `entry` on; from the first, the model's own forward.
pub(crate) fn onward<M: Staged>(
    model: &M,
    entry: usize,
    xs: M::Flow,
    context: &M::Context,
) -> candle_core::Result<M::Flow> {
    match entry {
        0 => model.forward(xs, context),
        _ => through(model, &model.stages()[entry..], xs, context),
    }
}

/// The stages in order, from what flows into the first of them.
pub(crate) fn through<M: Staged>(
    model: &M,
    stages: &[M::Stage],
    xs: M::Flow,
    context: &M::Context,
) -> candle_core::Result<M::Flow> {
    stages
        .iter()
        .try_fold(xs, |xs, &stage| watched(model, stage, xs, |xs| model.run(stage, xs, context)))
}
