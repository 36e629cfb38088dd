//! Stochastic gradient descent: plain, with momentum, or with Nesterov's (Sutskever et al., 2013).

use candle_core::Tensor;

use super::Fused;
use super::rule::{Update, check_lr, lr_and_decay, sealed::Rule};
use crate::error::{Result, check_number};
use crate::kernel::Real;
use crate::kernel::update::ElementRule;
#[cfg(any(feature = "cuda", test))]
use crate::kernel::update::{Arguments, SgdArguments};

/// Stochastic gradient descent, with momentum, Nesterov's variant and an L2 penalty as in PyTorch
/// (Sutskever et al. 2013, <https://proceedings.mlr.press/v28/sutskever13.html>).
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use candle_nn::Optimizer;
/// use freeze_core::optim::{Momentum, ParamsSgd, Sgd};
///
/// let weight = Var::ones((2, 3), DType::F32, &Device::Cpu)?;
/// let config = ParamsSgd { lr: 0.1, momentum: Momentum::Nesterov(0.9), ..ParamsSgd::default() };
/// let mut opt = Sgd::new(vec![weight.clone()], config)?;
/// opt.backward_step(&weight.sqr()?.sum_all()?)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
pub type Sgd = Fused<ParamsSgd>;

/// The configuration of [`Sgd`].
#[derive(Clone, Debug, PartialEq)]
pub struct ParamsSgd {
    /// The learning rate.
    pub lr: f64,
    /// The kind of momentum.
    pub momentum: Momentum,
    /// The L2 penalty: this share of the parameter is added to its gradient.
    pub weight_decay: f64,
}

/// The momentum of [`Sgd`]; the factor is in [0, 1).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Momentum {
    /// No momentum; the optimizer keeps no state.
    #[default]
    None,
    /// Classical momentum: `b = factor b + g`, and the step is along `b`.
    Heavy(f64),
    /// Nesterov's: `b = factor b + g`, and the step is along `g + factor b`.
    Nesterov(f64),
}

impl Default for ParamsSgd {
    fn default() -> Self {
        Self { lr: 0.01, momentum: Momentum::None, weight_decay: 0.0 }
    }
}

/// The numbers of one update.
#[derive(Clone, Copy, Debug)]
pub struct SgdKernel {
    update: Update,
    momentum: Momentum,
}

impl Rule for ParamsSgd {
    type Kernel = SgdKernel;
    const KIND: &'static str = "Sgd";

    fn check(&self) -> Result<()> {
        check_lr(self.lr)?;
        if let Momentum::Heavy(factor) | Momentum::Nesterov(factor) = self.momentum {
            check_number("momentum", factor, 0.0..1.0, "a number in [0, 1)")?;
        }
        check_number("weight_decay", self.weight_decay, 0.0.., "a finite number of at least 0")
    }

    lr_and_decay!();

    fn moments(&self) -> &'static [&'static str] {
        match self.momentum {
            Momentum::None => &[],
            Momentum::Heavy(_) | Momentum::Nesterov(_) => &["momentum"],
        }
    }

    fn kernel(&self, update: Update) -> SgdKernel {
        SgdKernel { update, momentum: self.momentum }
    }
}

impl ElementRule for SgdKernel {
    #[inline(always)]
    fn run<T: Real>(&self, theta: &mut [T], grad: &[T], first: &mut [T], _second: &mut [T]) {
        let lr = T::from_f64(self.update.lr);
        let penalty = T::from_f64(self.update.weight_decay);
        let pairs = theta.iter_mut().zip(grad);
        match self.momentum {
            Momentum::None => {
                for (p, &g) in pairs {
                    *p -= (g + penalty * *p) * lr;
                }
            }
            Momentum::Heavy(factor) => {
                let factor = T::from_f64(factor);
                for ((p, &g), b) in pairs.zip(first) {
                    *b = *b * factor + (g + penalty * *p);
                    *p -= *b * lr;
                }
            }
            Momentum::Nesterov(factor) => {
                let factor = T::from_f64(factor);
                for ((p, &g), b) in pairs.zip(first) {
                    let g = g + penalty * *p;
                    *b = *b * factor + g;
                    *p -= (g + *b * factor) * lr;
                }
            }
        }
    }

    #[cfg(any(feature = "cuda", test))]
    fn arguments(self) -> impl Arguments {
        let (factor, direct, carried) = match self.momentum {
            Momentum::None => (0.0, 1.0, 0.0),
            Momentum::Heavy(factor) => (factor, 0.0, 1.0),
            Momentum::Nesterov(factor) => (factor, 1.0, factor),
        };
        let Update { lr, weight_decay: penalty, .. } = self.update;
        SgdArguments { factor, direct, carried, lr, penalty }
    }

    fn run_tensors(
        &self,
        theta: &Tensor,
        grad: &Tensor,
        moments: &[Tensor],
    ) -> candle_core::Result<(Tensor, Vec<Tensor>)> {
        let grad = (grad + (theta * self.update.weight_decay)?)?;
        let (along, moments) = match (self.momentum, moments) {
            (Momentum::None, _) => (grad, Vec::new()),
            (Momentum::Heavy(factor), [buffer]) => {
                let buffer = ((buffer * factor)? + grad)?;
                (buffer.clone(), vec![buffer])
            }
            (Momentum::Nesterov(factor), [buffer]) => {
                let buffer = ((buffer * factor)? + &grad)?;
                ((grad + (&buffer * factor)?)?, vec![buffer])
            }
            (_, moments) => candle_core::bail!("sgd keeps one moment, got {}", moments.len()),
        };
        Ok(((theta - (along * self.update.lr)?)?, moments))
    }
}
