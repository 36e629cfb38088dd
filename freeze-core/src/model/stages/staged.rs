//! What the user writes: one stage's forward. The rest follows.

use super::Stages;
use super::places::position;
use crate::error::Error;
use crate::model::Flow;

/// A model that can be entered at any stage and left at any: the user says what one stage computes,
/// and the compiler that none is forgotten.
///
/// A stage computes with what flows in, the context, its own field and fields that are
/// `#[freeze(no_stage)]`. Views are entered as the model is: frozen stages record no graph.
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
    /// What flows from stage to stage, into the first and out of the last.
    type Flow: Flow;
    /// What every stage sees beside it, such as a mask; `()` if there is nothing.
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

    /// All stages.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    fn forward(&self, xs: Self::Flow, context: &Self::Context) -> candle_core::Result<Self::Flow> {
        through(self, &self.stages(), xs, context)
    }

    /// `stage` and all behind it; `xs` is what flows into `stage`.
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

    /// All in front of `stage`, without it: what flows into `stage`.
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

    /// From `from` on to what flows into `to`.
    ///
    /// # Errors
    ///
    /// The model has no such stage, `to` lies in front of `from`, or those of [`run`](Self::run).
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

fn through<M: Staged>(
    model: &M,
    stages: &[M::Stage],
    xs: M::Flow,
    context: &M::Context,
) -> candle_core::Result<M::Flow> {
    stages.iter().try_fold(xs, |xs, &stage| model.run(stage, xs, context))
}
