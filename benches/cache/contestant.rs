//! A model that trains, with a cache or without.

use std::time::Instant;

use candle_core::{Module, Result};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::AdamW;
use freeze_core::{ActivationCache, BatchNormPolicy, Freezable, Freezer, nn};

use super::data::Batch;
use super::kit::Net;

/// A model that trains.
pub(crate) struct Contestant<S> {
    model: Freezer<Net<S>>,
    optimizer: AdamW,
    cache: Option<ActivationCache>,
}

/// Each step's seconds, and each loss.
#[derive(Default)]
pub(crate) struct Epoch {
    pub(crate) steps: Vec<f64>,
    pub(crate) losses: Vec<f32>,
}

impl<S: Freezable + Module> Contestant<S> {
    /// The first `frozen` stages do not train.
    pub(crate) fn new(
        stage: impl Fn(usize) -> Result<S>,
        stages: usize,
        frozen: usize,
    ) -> Result<Self> {
        let mut model =
            Freezer::new(Net { stages: (0..stages).map(stage).collect::<Result<_>>()? })?;
        // A batch norm that normalises by the batch could not be cached.
        model.set_batch_norm(BatchNormPolicy::Inference)?;
        let leaves = model.leaf_before(&format!("stages.{frozen}"))?;
        model.freeze_front(leaves, &mut [])?;
        Ok(Self { optimizer: optimizer(&model)?, model, cache: None })
    }

    /// A run over the same front begins: a new optimizer and a new cache, or none.
    pub(crate) fn begin(&mut self, cache: Option<ActivationCache>) -> Result<()> {
        (self.optimizer, self.cache) = (optimizer(&self.model)?, cache);
        Ok(())
    }

    /// The run goes on with another cache.
    pub(crate) fn go_on(&mut self, cache: ActivationCache) {
        self.cache = Some(cache);
    }

    pub(crate) fn epoch(&mut self, batches: &[Batch]) -> Result<Epoch> {
        let mut epoch = Epoch::default();
        for (i, batch) in batches.iter().enumerate() {
            let start = Instant::now();
            let loss = self.step(batch, batches.get(i + 1))?;
            epoch.steps.push(start.elapsed().as_secs_f64());
            epoch.losses.push(loss);
        }
        Ok(epoch)
    }

    fn step(&mut self, batch: &Batch, next: Option<&Batch>) -> Result<f32> {
        let scores = match &mut self.cache {
            None => Module::forward(&self.model, &batch.inputs)?,
            Some(cache) => {
                let scores = cache.forward(&self.model, &batch.keys, batch.inputs.clone(), &())?;
                if let Some(next) = next {
                    cache.read_ahead(&next.keys);
                }
                scores
            }
        };
        let scores = scores.flatten_to(scores.rank() - 2)?;
        let loss = nn::cross_entropy(&scores, &batch.targets, None)?;
        self.optimizer.step(&freeze_core::backward(&loss)?)?;
        loss.to_scalar()
    }
}

fn optimizer<S: Freezable>(model: &Freezer<Net<S>>) -> Result<AdamW> {
    let parameters = ParamsAdamW { lr: 1e-4, ..Default::default() };
    Ok(AdamW::with_names(model.planned_vars(), parameters)?)
}
