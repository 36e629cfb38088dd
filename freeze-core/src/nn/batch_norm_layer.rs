//! The batch normalisation layer: normalises by the batch in training and by running statistics in
//! inference; when frozen, according to [`BatchNormPolicy`](crate::BatchNormPolicy).

mod freezable;

use std::sync::Arc;

use candle_core::{ModuleT, Result, Tensor, Var};
use candle_nn::{BatchNormConfig, Init, VarBuilder};

use super::batch_norm::normalize_by_then;
use super::ops::norm::plane_op::Then;
use super::ops::norm::{by_channel, check_eps};
use super::recompute::again::is_again;
use super::record;
use crate::error::Error;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::planes::move_running;
use crate::kernel::internal_dtype;
use crate::kernel::norm::{Center, across::SumOver, planes::Over};
use crate::parallel::{Group, Numbers};

/// Batch normalisation: `candle_nn::BatchNorm` with a lean backward.
///
/// Running statistics are updated as in candle: by `momentum` towards the batch's mean and unbiased
/// variance, on every forward pass in training. Views share them: a frozen layer updates them too,
/// except under [`BatchNormPolicy::Inference`](crate::BatchNormPolicy::Inference), where it normalises
/// by them even in training and does not update them.
///
/// In a layer of f16 or bf16 they are f32, because a half cannot represent such small updates.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    running_mean: Var,
    running_var: Var,
    weight_and_bias: Option<(Tensor, Tensor)>,
    center: Center,
    eps: f64,
    momentum: f64,
    training: Training,
    /// The ranks whose batches are one.
    across: Option<Group>,
}

/// What a forward pass in training normalises by; set by the mapper, never inferred.
#[derive(Clone, Copy, Debug)]
enum Training {
    ByBatch,
    ByRunning,
}

impl BatchNorm {
    /// A layer with weight and bias, and a momentum of 0.1. All four tensors have `num_features`
    /// elements. Running statistics that are not variables, or are f16 or bf16, are copied into
    /// variables.
    ///
    /// # Errors
    ///
    /// Tensors of another shape, or an `eps` that is negative or not finite.
    pub fn new(
        num_features: usize,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: f64,
    ) -> Result<Self> {
        let affine = Some((weight, bias));
        Self::build(num_features, [running_mean, running_var], affine, config(eps, 0.1))
    }

    /// As [`new`](Self::new) without weight and bias.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_no_bias(
        num_features: usize,
        running_mean: Tensor,
        running_var: Tensor,
        eps: f64,
    ) -> Result<Self> {
        Self::build(num_features, [running_mean, running_var], None, config(eps, 0.1))
    }

    /// As [`new`](Self::new) with a momentum from 0 to 1.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or a momentum outside that range.
    pub fn new_with_momentum(
        num_features: usize,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: f64,
        momentum: f64,
    ) -> Result<Self> {
        let affine = Some((weight, bias));
        Self::build(num_features, [running_mean, running_var], affine, config(eps, momentum))
    }

    /// As [`new_no_bias`](Self::new_no_bias) with a momentum from 0 to 1.
    ///
    /// # Errors
    ///
    /// As [`new_with_momentum`](Self::new_with_momentum).
    pub fn new_no_bias_with_momentum(
        num_features: usize,
        running_mean: Tensor,
        running_var: Tensor,
        eps: f64,
        momentum: f64,
    ) -> Result<Self> {
        Self::build(num_features, [running_mean, running_var], None, config(eps, momentum))
    }

    fn build(
        features: usize,
        [mean, var]: [Tensor; 2],
        weight_and_bias: Option<(Tensor, Tensor)>,
        config: BatchNormConfig,
    ) -> Result<Self> {
        check_eps(config.eps)?;
        if !(0.0..=1.0).contains(&config.momentum) {
            let (name, expected) = ("momentum", "a number from 0 to 1");
            return Err(Error::Number { name, value: config.momentum, expected }.into());
        }
        let affine = weight_and_bias.as_ref();
        let tensors = [
            ("running mean", Some(&mean)),
            ("running variance", Some(&var)),
            ("weight", affine.map(|a| &a.0)),
            ("bias", affine.map(|a| &a.1)),
        ];
        for (name, tensor) in tensors {
            if let Some(tensor) = tensor.filter(|tensor| tensor.dims() != [features]) {
                candle_core::bail!("the {name} has shape {:?}, not [{features}]", tensor.dims())
            }
        }
        Ok(Self {
            running_mean: statistics(&mean)?,
            running_var: statistics(&var)?,
            weight_and_bias,
            center: Center::from_remove_mean(config.remove_mean),
            eps: config.eps,
            momentum: config.momentum,
            training: Training::ByBatch,
            across: None,
        })
    }

    /// Has training normalise by the batch of all ranks, as PyTorch's `SyncBatchNorm`: three times in a step the ranks
    /// add up two numbers for each channel. On the CPU. Every rank needs a share of every batch.
    ///
    /// ```
    /// # use candle_core::{DType, Device};
    /// # use candle_nn::VarBuilder;
    /// use freeze_core::nn::batch_norm;
    /// use freeze_core::parallel::{Group, Threads};
    ///
    /// # let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
    /// # let rank = Threads::ranks(1)?.remove(0);
    /// let group = Group::new(rank);
    /// let norm = batch_norm(8, 1e-5, vb)?.across(&group);
    /// // and later `Training::new(net)?.parallel(group)`
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    pub fn across(self, group: &Group) -> Self {
        Self { across: Some(group.clone()), ..self }
    }

    /// The mean of each channel that inference normalises by.
    pub fn running_mean(&self) -> &Tensor {
        self.running_mean.as_tensor()
    }

    /// The variance of each channel that inference normalises by.
    pub fn running_var(&self) -> &Tensor {
        self.running_var.as_tensor()
    }

    /// The number added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// The scale and the offset of each channel.
    pub fn weight_and_bias(&self) -> Option<(&Tensor, &Tensor)> {
        self.weight_and_bias.as_ref().map(|(weight, bias)| (weight, bias))
    }

    /// The share of the batch's statistics in an update of the running ones.
    pub fn momentum(&self) -> f64 {
        self.momentum
    }

    /// Whether training removes the mean.
    pub fn remove_mean(&self) -> bool {
        self.center == Center::Mean
    }

    /// Normalises by the batch and updates the running statistics; in a view where the layer is
    /// frozen under [`BatchNormPolicy::Inference`](crate::BatchNormPolicy::Inference), normalises by the
    /// running statistics.
    ///
    /// # Errors
    ///
    /// As [`ops::batch_norm`](super::ops::batch_norm), or fewer than two values per channel, on all ranks
    /// together, which have no unbiased variance (candle's layer then sets its statistics to NaN).
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        self.training_then(x, Then::Nothing)
    }

    /// `relu(self.forward_t(x, train))`, with the rectifier in the passes that normalise, forward and
    /// backward.
    ///
    /// # Errors
    ///
    /// As [`forward_train`](Self::forward_train).
    pub fn forward_relu(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_then(x, train, Then::Relu)
    }

    /// `relu(self.forward_t(x, train) + residual)`, the end of a residual block, in one pass forward;
    /// `residual` has the shape of `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_train`](Self::forward_train), or a residual of another shape or element type.
    pub fn forward_add_relu(&self, x: &Tensor, residual: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_then(x, train, Then::AddRelu(residual))
    }

    fn forward_then(&self, x: &Tensor, train: bool, then: Then<'_>) -> Result<Tensor> {
        if train { self.training_then(x, then) } else { self.running_then(x, then) }
    }

    fn training_then(&self, x: &Tensor, then: Then<'_>) -> Result<Tensor> {
        if let Training::ByRunning = self.training {
            return self.running_then(x, then);
        }
        let features = self.running_mean.elem_count();
        if x.dims().get(1) != Some(&features) {
            candle_core::bail!("the input has shape {:?}, expected {features} channels", x.dims())
        }
        // What is recorded, as costs or by an audit, may run on one rank alone.
        let ranks = self.across.as_ref().filter(|_| !record::is_on()).map(sum_over);
        let (affine, over) = (self.weight_and_bias(), Over::Batch);
        if ranks.is_none() {
            check_count(x, x.elem_count() as f64 / features as f64)?;
        }
        let (y, batch) =
            by_channel::by_input(x, over, self.center, affine, self.eps, then, ranks.as_ref())?;
        // The same number on all ranks, which refuse it together.
        check_count(x, batch.count)?;
        if is_again() {
            return Ok(y);
        }
        let count = batch.count;
        let share = self.momentum * count / (count - 1.0);
        let moves_mean = self.center == Center::Mean;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() && self.running_var.dtype() == batch.variance.dtype() {
            let running = [self.running_mean(), self.running_var()];
            let shares = (moves_mean.then_some(self.momentum), share);
            let batch = [&batch.mean, &batch.variance];
            move_running(running, batch, 1.0 - self.momentum, shares)?;
            return Ok(y);
        }
        let moved = |running: &Var, batch: &Tensor, share: f64| {
            let kept = (running.as_detached_tensor() * (1.0 - self.momentum))?;
            kept + (batch.to_dtype(running.dtype())? * share)?
        };
        let var = moved(&self.running_var, &batch.variance, share)?;
        if moves_mean {
            self.running_mean.set(&moved(&self.running_mean, &batch.mean, self.momentum)?)?;
        }
        self.running_var.set(&var)?;
        Ok(y)
    }

    fn running_then(&self, x: &Tensor, then: Then<'_>) -> Result<Tensor> {
        let running = [self.running_mean(), self.running_var()];
        normalize_by_then(x, running, self.weight_and_bias(), self.eps, then)
    }
}

/// An error for too few values in each channel of a batch: they have no unbiased variance.
fn check_count(x: &Tensor, count: f64) -> Result<()> {
    match count < 2.0 {
        false => Ok(()),
        true => candle_core::bail!(
            "the input has shape {:?}: training needs at least two values per channel",
            x.dims()
        ),
    }
}

/// Sums over the ranks of a group.
fn sum_over(group: &Group) -> SumOver {
    let group = group.clone();
    Arc::new(move |numbers| Ok(group.sum("the sums of a batch norm", Numbers::F64(numbers))?))
}

/// The tensor itself if it is a variable, otherwise a copy in one. Halves become f32, because they
/// cannot represent small updates.
fn statistics(tensor: &Tensor) -> Result<Var> {
    Var::from_tensor(&tensor.to_dtype(internal_dtype(tensor.dtype()))?)
}

fn config(eps: f64, momentum: f64) -> BatchNormConfig {
    BatchNormConfig { eps, momentum, ..Default::default() }
}

/// A batch normalisation of `num_features` channels; reads `running_mean`, `running_var` and, if
/// the config is affine, `weight` and `bias`. The statistics of an f16 or bf16 layer are read and
/// created as f32.
///
/// # Errors
///
/// The builder has no such tensors, or a number of the config is out of range.
pub fn batch_norm<C: Into<BatchNormConfig>>(
    num_features: usize,
    config: C,
    vb: VarBuilder<'_>,
) -> Result<BatchNorm> {
    let config = config.into();
    let get = |name, init| vb.get_with_hints(num_features, name, Init::Const(init));
    let wide = internal_dtype(vb.dtype());
    let running = |name, init| vb.get_with_hints_dtype(num_features, name, Init::Const(init), wide);
    let running = [running("running_mean", 0.0)?, running("running_var", 1.0)?];
    let affine = match config.affine {
        true => Some((get("weight", 1.0)?, get("bias", 0.0)?)),
        false => None,
    };
    BatchNorm::build(num_features, running, affine, config)
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_then(x, train, Then::Nothing)
    }
}
