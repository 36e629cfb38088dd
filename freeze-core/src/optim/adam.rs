//! Adam and AdamW.

use candle_core::Tensor;
use candle_nn::ParamsAdamW;

use super::Fused;
use super::rule::{Update, check_lr, lr_and_decay, sealed::Rule};
use crate::error::{Result, check_number};
use crate::kernel::Real;
use crate::kernel::update::ElementRule;
#[cfg(any(feature = "cuda", test))]
use crate::kernel::update::{AdamArguments, Arguments};

/// AdamW: Adam with weight decay decoupled from the gradient (Loshchilov and Hutter 2019,
/// <https://arxiv.org/abs/1711.05101>).
///
/// A replacement for [`candle_nn::AdamW`]: same configuration and same results, except that the
/// bias correction of a parameter counts the updates of that parameter.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use candle_nn::{Optimizer, ParamsAdamW};
/// use freeze_core::optim::AdamW;
///
/// let weight = Var::ones((2, 3), DType::F32, &Device::Cpu)?;
/// let mut opt = AdamW::new(vec![weight.clone()], ParamsAdamW::default())?;
/// let loss = weight.sqr()?.sum_all()?;
/// opt.backward_step(&loss)?;
/// assert!(weight.sqr()?.sum_all()?.to_scalar::<f32>()? < loss.to_scalar::<f32>()?);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub type AdamW = Fused<ParamsAdamW>;

/// Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>); its weight decay is an L2 penalty,
/// added to the gradient.
pub type Adam = Fused<ParamsAdam>;

/// The configuration of [`Adam`].
#[derive(Clone, Debug, PartialEq)]
pub struct ParamsAdam {
    /// The learning rate.
    pub lr: f64,
    /// The decay rate of the first moment, in [0, 1).
    pub beta1: f64,
    /// The decay rate of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment. At least the smallest normal `f32`, 1.2e-38, is
    /// used, so that a gradient of zero never divides by zero.
    pub eps: f64,
    /// The L2 penalty: this share of the parameter is added to its gradient.
    pub weight_decay: f64,
}

impl Default for ParamsAdam {
    fn default() -> Self {
        Self { lr: 0.001, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl AdamW {
    /// Builds one with the default configuration and this learning rate.
    ///
    /// # Errors
    ///
    /// As [`new`](candle_nn::Optimizer::new).
    pub fn new_lr(vars: Vec<candle_core::Var>, learning_rate: f64) -> candle_core::Result<Self> {
        let params = ParamsAdamW { lr: learning_rate, ..ParamsAdamW::default() };
        candle_nn::Optimizer::new(vars, params)
    }
}

/// The numbers of one Adam update.
#[derive(Clone, Copy, Debug)]
pub struct AdamKernel {
    update: Update,
    beta1: f64,
    beta2: f64,
    eps: f64,
    /// What corrects the bias of the two moments.
    scales: [f64; 2],
    decay: Decay,
}

#[derive(Clone, Copy, Debug)]
enum Decay {
    Decoupled,
    L2,
}

/// The two rules differ only in how weight decay is applied.
macro_rules! adam_rule {
    ($config:ty, $kind:literal, $decay:expr) => {
        impl Rule for $config {
            type Kernel = AdamKernel;
            const KIND: &'static str = $kind;

            fn check(&self) -> Result<()> {
                check_adam(self.lr, [self.beta1, self.beta2], self.eps, self.weight_decay)
            }

            lr_and_decay!();

            fn moments(&self) -> &'static [&'static str] {
                &["first_moment", "second_moment"]
            }

            fn kernel(&self, update: Update) -> AdamKernel {
                let Self { beta1, beta2, .. } = *self;
                let eps = self.eps.max(f64::from(f32::MIN_POSITIVE));
                let step = i32::try_from(update.step).unwrap_or(i32::MAX);
                let scales = [beta1, beta2].map(|beta| 1.0 / (1.0 - beta.powi(step)));
                AdamKernel { update, beta1, beta2, eps, scales, decay: $decay }
            }
        }
    };
}

adam_rule!(ParamsAdamW, "AdamW", Decay::Decoupled);
adam_rule!(ParamsAdam, "Adam", Decay::L2);

fn check_adam(lr: f64, betas: [f64; 2], eps: f64, weight_decay: f64) -> Result<()> {
    check_lr(lr)?;
    check_number("beta1", betas[0], 0.0..1.0, "a number in [0, 1)")?;
    check_number("beta2", betas[1], 0.0..1.0, "a number in [0, 1)")?;
    check_number("eps", eps, 0.0.., "a finite number of at least 0")?;
    check_number("weight_decay", weight_decay, 0.0.., "a finite number of at least 0")
}

impl AdamKernel {
    /// The factor by which weight decay scales the parameter.
    fn keep(&self) -> f64 {
        match self.decay {
            Decay::Decoupled => 1.0 - self.update.lr * self.update.weight_decay,
            Decay::L2 => 1.0,
        }
    }

    // The order of operations is candle's, so that the results are equal to candle's.
    #[inline(always)]
    fn loop_over<T: Real>(
        &self,
        theta: &mut [T],
        grad: &[T],
        [first, second]: [&mut [T]; 2],
        full_grad: impl Fn(T, T) -> T,
    ) {
        let [scale_m, scale_v] = self.scales.map(T::from_f64);
        let (b1, c1) = (T::from_f64(self.beta1), T::from_f64(1.0 - self.beta1));
        let (b2, c2) = (T::from_f64(self.beta2), T::from_f64(1.0 - self.beta2));
        let (eps, lr) = (T::from_f64(self.eps), T::from_f64(self.update.lr));
        let keep = T::from_f64(self.keep());
        let moments = first.iter_mut().zip(second);
        for ((p, &g), (m, v)) in theta.iter_mut().zip(grad).zip(moments) {
            let g = full_grad(g, *p);
            *m = *m * b1 + g * c1;
            *v = *v * b2 + g * g * c2;
            *p = *p * keep - *m * scale_m / ((*v * scale_v).sqrt() + eps) * lr;
        }
    }
}

impl ElementRule for AdamKernel {
    #[inline(always)]
    fn run<T: Real>(&self, theta: &mut [T], grad: &[T], first: &mut [T], second: &mut [T]) {
        let moments = [first, second];
        match self.decay {
            Decay::Decoupled => self.loop_over(theta, grad, moments, |g, _| g),
            Decay::L2 => {
                let penalty = T::from_f64(self.update.weight_decay);
                self.loop_over(theta, grad, moments, |g, p| g + penalty * p);
            }
        }
    }

    #[cfg(any(feature = "cuda", test))]
    fn arguments(self) -> impl Arguments {
        let [scale_m, scale_v] = self.scales;
        let penalty = match self.decay {
            Decay::Decoupled => 0.0,
            Decay::L2 => self.update.weight_decay,
        };
        AdamArguments {
            b1: self.beta1,
            c1: 1.0 - self.beta1,
            b2: self.beta2,
            c2: 1.0 - self.beta2,
            scale_m,
            scale_v,
            eps: self.eps,
            lr: self.update.lr,
            keep: self.keep(),
            penalty,
        }
    }

    fn run_tensors(
        &self,
        theta: &Tensor,
        grad: &Tensor,
        moments: &[Tensor],
    ) -> candle_core::Result<(Tensor, Vec<Tensor>)> {
        let [first, second] = moments else {
            candle_core::bail!("adam keeps two moments, got {}", moments.len())
        };
        let [scale_m, scale_v] = self.scales;
        let grad = match self.decay {
            Decay::Decoupled => grad.clone(),
            Decay::L2 => (grad + (theta * self.update.weight_decay)?)?,
        };
        let first = ((first * self.beta1)? + (&grad * (1.0 - self.beta1))?)?;
        let second = ((second * self.beta2)? + (grad.sqr()? * (1.0 - self.beta2))?)?;
        let root = ((&second * scale_v)?.sqrt()? + self.eps)?;
        let theta = ((theta * self.keep())? - (((&first * scale_m)? / root)? * self.update.lr)?)?;
        Ok((theta, vec![first, second]))
    }
}
