//! The update rule of an optimizer: hyperparameters, their checks, and the update of one element (AdamW, Adam,
//! SGD).

use std::fmt::Debug;

use candle_core::DType;

use crate::error::{Result, check_number};
use crate::kernel::update::ElementRule;

/// The configuration of an optimizer together with its update, for [`Fused`](super::Fused).
///
/// Implemented for [`ParamsAdamW`](candle_nn::ParamsAdamW), [`ParamsAdam`](super::ParamsAdam) and
/// [`ParamsSgd`](super::ParamsSgd); it cannot be implemented elsewhere.
pub trait UpdateRule: sealed::Rule {}

impl<R: sealed::Rule> UpdateRule for R {}

/// The inputs of one update besides the configuration and the tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The learning rate of this parameter.
    pub(crate) lr: f64,
    /// The weight decay of this parameter.
    pub(crate) weight_decay: f64,
    /// How many updates the parameter has had, this one included.
    pub(crate) step: u64,
}

pub(crate) mod sealed {
    use super::{Debug, ElementRule, Result, Update};

    /// The private part of a rule.
    pub trait Rule: Clone + Debug + Send + Sync + 'static {
        /// The numbers of one update of one parameter.
        type Kernel: ElementRule;

        /// The optimizer's type name.
        const KIND: &'static str;

        /// An error if a number would corrupt the parameters.
        fn check(&self) -> Result<()>;

        /// The learning rate.
        fn lr(&self) -> f64;

        /// Sets the learning rate.
        fn set_lr(&mut self, lr: f64);

        /// The weight decay if no parameter group sets another.
        fn weight_decay(&self) -> f64;

        /// The names of the moments, at most two.
        fn moments(&self) -> &'static [&'static str];

        /// The numbers of one update.
        fn kernel(&self, update: Update) -> Self::Kernel;
    }
}

/// The methods of a rule whose configuration has the fields `lr` and `weight_decay`.
macro_rules! lr_and_decay {
    () => {
        fn lr(&self) -> f64 {
            self.lr
        }

        fn set_lr(&mut self, lr: f64) {
            self.lr = lr;
        }

        fn weight_decay(&self) -> f64 {
            self.weight_decay
        }
    };
}
pub(crate) use lr_and_decay;

/// An error, as text, if a number of an update is negative, not finite, or too large for the type
/// of its parameter: scales multiply, and an infinite product would be written to the parameter.
pub(crate) fn check_for(dtype: DType, what: &str, number: f64) -> Result<(), String> {
    let largest = match dtype {
        DType::F64 => f64::MAX,
        DType::F16 => f64::from(half::f16::MAX),
        _ => f64::from(half::bf16::MAX),
    };
    match (0.0..=largest).contains(&number) {
        true => Ok(()),
        false => Err(format!("its {what} is {number:e}, expected 0 to {largest:e} for {dtype:?}")),
    }
}

pub(crate) fn check_lr(lr: f64) -> Result<()> {
    check_number("lr", lr, 0.0.., "a finite number of at least 0")
}
