//! A model that trains under a plan, and what its steps take.

use std::time::Instant;

use candle_core::{Module, Tensor};
use candle_nn::Optimizer;
use freeze_core::forecast::{Calibration, calibrate_with_update};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, FreezePlan, Freezer, Result, backward, nn};

use super::ALLOCATOR;
use super::contest::Contest;
use super::kit::Net;

/// A model with its optimizer.
pub(crate) struct Subject<S> {
    pub(crate) model: Freezer<Net<S>>,
    optimizer: AdamW,
    /// The bytes of the optimizer's state.
    state: usize,
}

/// What one step took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    /// What the forward kept, gradients, and the optimizer's state, by the allocator's count.
    pub(crate) bytes: usize,
}

impl<S: Freezable + Module> Subject<S> {
    pub(crate) fn new(
        stage: impl Fn(usize) -> candle_core::Result<S>,
        stages: usize,
    ) -> Result<Self> {
        let net = Net { stages: (0..stages).map(stage).collect::<candle_core::Result<_>>()? };
        let model = Freezer::new(net)?;
        let optimizer = AdamW::new_lr(model.vars(), 1e-4)?;
        Ok(Self { model, optimizer, state: 0 })
    }

    pub(crate) fn calibrate(&mut self, contest: &Contest) -> Result<Calibration> {
        let Self { model, optimizer, .. } = self;
        let update = |grads: &_| optimizer.step(grads);
        calibrate_with_update(model, |net| contest.loss(net), update)
    }

    /// The same under a plan, after two steps: the first makes the optimizer's state.
    pub(crate) fn under(mut self, plan: &FreezePlan, contest: &Contest) -> Result<Self> {
        self.model.apply(plan, &mut [&mut self.optimizer])?;
        let before = ALLOCATOR.allocated();
        self.step(contest)?;
        self.state = ALLOCATOR.allocated().saturating_sub(before);
        self.step(contest)?;
        Ok(self)
    }

    pub(crate) fn step(&mut self, contest: &Contest) -> Result<Sample> {
        let before = ALLOCATOR.allocated();
        let start = Instant::now();
        let loss = contest.loss(&*self.model)?;
        let kept = ALLOCATOR.allocated().saturating_sub(before);
        let grads = backward(&loss)?;
        self.optimizer.step(&grads)?;
        drop(loss);
        let with = ALLOCATOR.allocated();
        drop(grads);
        let seconds = start.elapsed().as_secs_f64();
        let gradients = with.saturating_sub(ALLOCATOR.allocated());
        Ok(Sample { seconds, bytes: kept + gradients + self.state })
    }
}

impl Contest {
    fn loss(&self, net: &impl Module) -> candle_core::Result<Tensor> {
        let scores = net.forward(&self.input)?;
        let rows = scores.rank() - 1;
        nn::cross_entropy(&scores, &self.targets.reshape(&scores.dims()[..rows])?, None)
    }
}
