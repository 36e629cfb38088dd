//! Recomputation of activations for models with stages: which stages are run again in the backward.

mod chain;

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::Var;

use crate::audit::trial::Saved;
use crate::error::{Error, Result, at_least_1};
use crate::forecast::stages;
use crate::model::inspect::statistics;
use crate::model::{Freezer, Staged, Stages, frozen_front, through};
use crate::nn::recompute as run_again;
use crate::nn::recompute::again::is_again;
use chain::{Chain, Least};

/// Which stages of a model do not keep their activations for the backward, which runs them again (Chen
/// et al. 2016, arXiv:1604.06174); see [`recompute`](fn@crate::recompute). Frozen stages in front of the
/// first that trains keep none and are never run again.
///
/// ```
/// # use candle_core::{DType, Device, Result, Tensor};
/// # use candle_nn::{Linear, Module};
/// use freeze_core::{Freezable, Freezer, Recompute, Staged, backward};
///
/// #[derive(Freezable)]
/// #[freeze(stages)]
/// struct Net {
///     blocks: Vec<Linear>,
///     head: Linear,
/// }
/// # impl Staged for Net {
/// #     type Flow = Tensor;
/// #     type Context = ();
/// #     fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
/// #         match stage {
/// #             NetStage::Blocks(i) => self.blocks[i].forward(&xs)?.tanh(),
/// #             NetStage::Head => self.head.forward(&xs),
/// #         }
/// #     }
/// # }
/// # let vb = candle_nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
/// # let linear = |name: &str| candle_nn::linear(4, 4, vb.pp(name));
/// # let net = Net { blocks: vec![linear("a")?, linear("b")?, linear("c")?], head: linear("h")? };
/// # let net = net.into_trainable()?;
/// # let xs = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
///
/// let net = Freezer::new(net)?;
/// let again = Recompute::every(2)?; // or `within` a number of bytes
/// let loss = again.forward(&net, xs, ())?.sqr()?.mean_all()?;
/// let grads = backward(&loss)?;
/// # assert!(net.vars().iter().all(|var| grads.get(var).is_some()));
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recompute(Choice);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    Every(usize),
    /// Ranges of a number of stages.
    Ranges {
        again: Vec<Range<usize>>,
        stages: usize,
    },
}

impl Recompute {
    /// Runs every `n` stages again together, from the first that trains; not the last ones, whose
    /// backward follows at once.
    ///
    /// # Errors
    ///
    /// `n` is 0.
    pub fn every(n: usize) -> Result<Self> {
        Ok(Self(Choice::Every(at_least_1("every", n)?)))
    }

    /// The stages to run again such that activations take at most `bytes` in a step on a batch like `xs`
    /// and the step takes the least time, by the costs that [`forecast::stages`](fn@stages) measures under
    /// the plan in force. Under a plan that freezes more, less is kept. What operations keep for
    /// themselves, gradients (of weights, and about five times what flows between two layers) and what the loss
    /// is computed with are not counted.
    ///
    /// # Errors
    ///
    /// No choice needs so little, or the forward fails.
    pub fn within<M: Staged>(
        freezer: &Freezer<M>,
        bytes: usize,
        xs: &M::Flow,
        context: &M::Context,
    ) -> Result<Self> {
        let costs = stages(freezer, xs, context)?;
        let all = costs.stages();
        let chain = Chain {
            kept: all.iter().map(|stage| stage.kept_bytes as u64).collect(),
            flows: std::iter::once(costs.input_bytes())
                .chain(all.iter().map(|stage| stage.output_bytes))
                .map(|bytes| bytes as u64)
                .collect(),
            times: all.iter().map(|stage| stage.forward.as_secs_f64()).collect(),
        };
        let too_little = |Least(least)| Error::Recompute {
            why: format!(
                "activations within {bytes} bytes are not possible, the least is {least} bytes; allow as \
                 many, take a smaller batch or smaller stages, or freeze more"
            ),
        };
        let again = chain.choose(bytes as u64).map_err(too_little)?;
        Ok(Self(Choice::Ranges { again, stages: all.len() }))
    }

    /// The forward of the freezer's view. The result and all gradients are those of the model's own
    /// forward. Running statistics move once, also those of candle's batch norm.
    ///
    /// The context is kept until the backward: hand over an owned one, or an [`Arc`].
    ///
    /// # Errors
    ///
    /// Those of the forward, or the stages were chosen for a model with another number of stages.
    pub fn forward<M>(
        &self,
        freezer: &Freezer<M>,
        xs: M::Flow,
        context: impl Into<Arc<M::Context>>,
    ) -> Result<M::Flow>
    where
        M: Staged<Flow: 'static, Context: Send + Sync + 'static> + Send + Sync + 'static,
    {
        self.forward_from(freezer, 0, xs, Arc::new(context.into()))
    }

    /// As [`forward`](Self::forward), from what flows into stage number `entry`, which is not behind the
    /// first that trains.
    pub(crate) fn forward_from<M, C>(
        &self,
        freezer: &Freezer<M>,
        entry: usize,
        xs: M::Flow,
        context: Arc<C>,
    ) -> Result<M::Flow>
    where
        M: Staged<Flow: 'static> + Send + Sync + 'static,
        C: Borrow<M::Context> + Send + Sync + 'static,
    {
        let ready = freezer.made.get(freezer.revision, || Ready::of(freezer))?;
        let (mut xs, mut at) = (xs, entry);
        for again in self.ranges(ready.stages.len(), ready.boundary)? {
            let between = &ready.stages[at..again.start];
            xs = through(&ready.model, between, xs, (*context).borrow())?;
            at = again.end;
            let (ready, context) = (Arc::clone(&ready), Arc::clone(&context));
            xs = run_again::recompute(xs, move |xs| {
                // Those of our own layers do not move again, but candle's would.
                let saved = is_again().then(|| Saved::new(ready.statistics.clone())).transpose()?;
                let ys =
                    through(&ready.model, &ready.stages[again.clone()], xs, (*context).borrow())?;
                saved.map_or(Ok(()), |saved| saved.restore())?;
                Ok(ys)
            })?;
        }
        Ok(through(&ready.model, &ready.stages[at..], xs, (*context).borrow())?)
    }

    /// The stages to run again, of `len` of which the one at `boundary` is the first that trains.
    fn ranges(&self, len: usize, boundary: usize) -> Result<Vec<Range<usize>>> {
        match &self.0 {
            Choice::Every(n) => {
                let starts = (boundary..len).step_by(*n);
                Ok(starts
                    .map(|start| start..start.saturating_add(*n))
                    .filter(|range| range.end < len)
                    .collect())
            }
            Choice::Ranges { stages, .. } if *stages != len => {
                let why = format!(
                    "the stages were chosen for a model of {stages}, this one has {len}; choose anew"
                );
                Err(Error::Recompute { why })
            }
            Choice::Ranges { again, .. } => {
                let behind = again.iter().map(|range| range.start.max(boundary)..range.end);
                Ok(behind.filter(|range| !range.is_empty()).collect())
            }
        }
    }
}

/// A view that stages keep for the backward, and what there is to know of it.
struct Ready<M: Stages> {
    model: M,
    stages: Vec<M::Stage>,
    /// The number of stages in front of the first that trains.
    boundary: usize,
    statistics: Vec<Var>,
}

impl<M: Stages> Ready<M> {
    fn of(freezer: &Freezer<M>) -> Result<Self> {
        let (whole, plan) = (freezer.whole(), freezer.plan());
        let statistics = statistics(&|mapper| whole.visit_params(mapper))?;
        let stages = freezer.stages();
        Ok(Self {
            model: freezer.view(plan)?.into_inner(),
            boundary: frozen_front(whole, &stages, plan)?,
            stages,
            statistics: statistics.into_iter().map(|(_, var)| var).collect(),
        })
    }
}
