//! The cross-entropy on a CUDA card, which never waits for the card: the labels stay there.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CudaStorage, D, Layout, Result, Shape, Tensor, bail};

use crate::kernel::cuda::cross_entropy::{self as kernel, Found, Rule, Targets};
use crate::kernel::cuda::{on_card, operand, tensor};
use crate::nn::ops::operation::{Operand, Operation, Reads};
use crate::nn::record::{self, Work};

/// The loss of logits `[.., classes]` on a card for labels, a vector in `i64`, and weights of the classes, if any.
pub(super) fn loss(
    logits: &Tensor,
    labels: &Tensor,
    ignored: Option<i64>,
    smoothing: f64,
    weights: &[f64],
) -> Result<Tensor> {
    let classes = logits.dim(D::Minus1)?;
    if logits.elem_count() == 0 {
        let count = labels.elem_count();
        bail!("cross_entropy: {count} labels and {classes} classes, so there is no mean");
    }
    let device = logits.device();
    let spread = smoothing / classes as f64;
    let (weights, weight) = match weights {
        [] => (None, classes as f64),
        weights => (Some(Tensor::new(weights, device)?), weights.iter().sum()),
    };
    let op = OnCard {
        labels: labels.to_device(device)?.contiguous()?,
        weights,
        rule: Rule { ignored, kept: 1.0 - smoothing, spread, shares: spread * weight },
        found: OnceLock::new(),
    };
    record::apply([logits], Work::Elements, op)
}

/// Of logits.
struct OnCard {
    labels: Tensor,
    weights: Option<Tensor>,
    rule: Rule,
    /// By the forward, for the backward.
    found: OnceLock<Found>,
}

impl OnCard {
    /// Passes what is given beside the logits to `run`.
    fn with<R>(&self, run: impl FnOnce(Targets<'_>) -> Result<R>) -> Result<R> {
        let rule = self.rule;
        match &self.weights {
            None => on_card([&self.labels], |_, [labels]| {
                run(Targets { labels: &labels, weights: None, rule })
            }),
            Some(weights) => on_card([&self.labels, weights], |_, [labels, weights]| {
                run(Targets { labels: &labels, weights: Some(&weights), rule })
            }),
        }
    }
}

impl Operation<1> for OnCard {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn shape(&self, _: [&Layout; 1]) -> Result<Shape> {
        Ok(Shape::from(()))
    }

    fn cpu(&self, _: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        bail!("cross-entropy: expected logits on a card")
    }

    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        let logits = operand(x)?;
        let (loss, found) = self.with(|targets| kernel::forward(&x.0.device, &logits, targets))?;
        // Set once: an operation runs forward once.
        let _ = self.found.set(found);
        Ok(loss)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::OPERANDS
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        let Some(found) = self.found.get() else { bail!("cross-entropy: no forward") };
        let dx = on_card([x, grad], |device, [x, grad]| {
            self.with(|targets| kernel::backward(device, [&x, &grad], targets, found))
        })?;
        Ok([Some(tensor(dx, x.shape()))])
    }
}
