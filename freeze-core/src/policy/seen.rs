//! What was seen of one variable.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::error::{Error, Result};
use crate::plan::{Measured, Norms};
use crate::policy::Needs;

/// What was seen of one variable in a step. Each quantity is absent unless it was needed.
///
/// Numbers that were computed on another device are read when they are asked for, and one that is
/// infinite or NaN is an error that names the variable.
#[derive(Clone, Debug)]
pub struct Seen {
    leaf: usize,
    is_again: bool,
    name: Arc<str>,
    elements: usize,
    var: Option<Var>,
    gradient: Option<Pair>,
    update: Option<Pair>,
    weight: Option<Pair>,
    relative_update: Option<Number>,
    weight_change: Option<Pair>,
    gradient_change: Option<Pair>,
    gradient_sum: Option<Pair>,
    signal_to_noise: Option<Number>,
    loss_drop: Option<Number>,
}

/// A number, on the host or as a scalar on a device.
#[derive(Clone, Debug)]
pub(crate) enum Number {
    Here(f64),
    There(Tensor),
}

/// The two norms of one quantity.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) l1: Number,
    pub(crate) l2: Number,
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Here(number)
    }
}

impl From<Norms> for Pair {
    fn from(Norms { l1, l2 }: Norms) -> Self {
        Self { l1: l1.into(), l2: l2.into() }
    }
}

impl Number {
    fn read(&self) -> Result<f64> {
        match self {
            Self::Here(number) => Ok(*number),
            Self::There(scalar) => Ok(scalar.to_dtype(DType::F64)?.to_scalar()?),
        }
    }
}

impl Seen {
    /// A variable of the leaf at index `leaf`, with its full name and its number of elements.
    pub fn new(leaf: usize, name: impl Into<Arc<str>>, elements: usize) -> Self {
        Self {
            leaf,
            is_again: false,
            name: name.into(),
            elements,
            var: None,
            gradient: None,
            update: None,
            weight: None,
            relative_update: None,
            weight_change: None,
            gradient_change: None,
            gradient_sum: None,
            signal_to_noise: None,
            loss_drop: None,
        }
    }

    /// The same, as a variable of another leaf, of the same one or a later.
    pub(super) fn of_leaf(self, leaf: usize, name: Arc<str>) -> Self {
        Self { is_again: leaf != self.leaf, leaf, name, ..self }
    }

    /// Whether it is a tied variable that was seen in an earlier leaf, too: a sum over leaves has it once.
    pub fn is_again(&self) -> bool {
        self.is_again
    }

    /// The index of the leaf that holds it. A tied variable is seen once for each leaf that holds it and trains.
    pub fn leaf(&self) -> usize {
        self.leaf
    }

    /// Its full name in that leaf.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number of elements.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The variable itself, if tensors were needed.
    pub fn tensor(&self) -> Option<&Var> {
        self.var.as_ref()
    }

    /// Adds the variable itself.
    pub fn var(self, var: Var) -> Self {
        Self { var: Some(var), ..self }
    }

    /// Takes over what an optimizer measured.
    pub(crate) fn measured(self, measured: &Measured) -> Self {
        Self {
            gradient: measured.gradient.map(Pair::from).or(self.gradient),
            update: measured.update.map(Pair::from).or(self.update),
            weight: measured.weight.map(Pair::from).or(self.weight),
            relative_update: measured.relative_update.map(Number::from).or(self.relative_update),
            ..self
        }
    }

    /// What of it was needed.
    pub(super) fn only(self, needs: Needs) -> Self {
        Self {
            var: self.var.filter(|_| needs.contains(Needs::TENSORS)),
            gradient: self.gradient.filter(|_| needs.contains(Needs::GRADIENT)),
            update: self.update.filter(|_| needs.contains(Needs::UPDATE)),
            weight: self.weight.filter(|_| needs.contains(Needs::WEIGHT)),
            relative_update: self
                .relative_update
                .filter(|_| needs.contains(Needs::RELATIVE_UPDATE)),
            weight_change: self.weight_change.filter(|_| needs.contains(Needs::WEIGHT_CHANGE)),
            gradient_change: self
                .gradient_change
                .filter(|_| needs.contains(Needs::GRADIENT_CHANGE)),
            gradient_sum: self.gradient_sum.filter(|_| needs.contains(Needs::GRADIENT_SUM)),
            signal_to_noise: self
                .signal_to_noise
                .filter(|_| needs.contains(Needs::SIGNAL_TO_NOISE)),
            loss_drop: self.loss_drop.filter(|_| needs.contains(Needs::LOSS_DROP)),
            ..self
        }
    }

    fn norms(&self, what: &'static str, pair: &Option<Pair>) -> Result<Option<Norms>> {
        let Some(pair) = pair else { return Ok(None) };
        let l1 = self.finite(what, pair.l1.read()?)?;
        Ok(Some(Norms { l1, l2: self.finite(what, pair.l2.read()?)? }))
    }

    fn number(&self, what: &'static str, number: &Option<Number>) -> Result<Option<f64>> {
        let read = |number: &Number| self.finite(what, number.read()?);
        number.as_ref().map(read).transpose()
    }

    fn finite(&self, what: &'static str, value: f64) -> Result<f64> {
        match value.is_finite() {
            true => Ok(value),
            false => Err(Error::Observed { name: self.name.to_string(), what, value }),
        }
    }
}

macro_rules! norms {
    ($($field:ident, $set:ident, $own:ident, $get:ident, $what:literal, $doc:literal;)+) => {
        impl Seen {$(
            #[doc = concat!("Sets the norms of ", $doc)]
            pub fn $set(self, norms: Norms) -> Self {
                self.$own(norms.into())
            }

            pub(crate) fn $own(self, norms: Pair) -> Self {
                Self { $field: Some(norms), ..self }
            }

            #[doc = concat!("The norms of ", $doc)]
            ///
            /// # Errors
            ///
            /// One is infinite or NaN, or its device failed.
            pub fn $get(&self) -> Result<Option<Norms>> {
                self.norms($what, &self.$field)
            }
        )+}
    };
}

norms! {
    gradient, gradient, with_gradient, gradient_norms, "gradient", "the gradient that the update used.";
    update, update, with_update, update_norms, "update", "the weight after the step minus the weight before.";
    weight, weight, with_weight, weight_norms, "weight", "the weight after the step.";
    weight_change, weight_change, with_weight_change, weight_change_norms, "weight's change", "the weight's change since it was last needed.";
    gradient_change, gradient_change, with_gradient_change, gradient_change_norms, "gradient's change", "the gradient's change since it was last needed.";
    gradient_sum, gradient_sum, with_gradient_sum, gradient_sum_norms, "sum of gradients", "the sum of gradients.";
}

macro_rules! numbers {
    ($($field:ident, $set:ident, $own:ident, $get:ident, $what:literal, $doc:literal;)+) => {
        impl Seen {$(
            #[doc = concat!("Sets ", $doc)]
            pub fn $set(self, number: f64) -> Self {
                self.$own(number.into())
            }

            pub(crate) fn $own(self, number: Number) -> Self {
                Self { $field: Some(number), ..self }
            }

            #[doc = concat!("It is ", $doc)]
            ///
            /// # Errors
            ///
            /// It is infinite or NaN, or its device failed.
            pub fn $get(&self) -> Result<Option<f64>> {
                self.number($what, &self.$field)
            }
        )+}
    };
}

numbers! {
    relative_update, relative_update, with_relative_update, mean_relative_update, "relative update", "the mean of |update / weight before|.";
    signal_to_noise, signal_to_noise, with_signal_to_noise, gradient_signal_to_noise, "signal-to-noise ratio", "the mean of g^2 / (Var(g) + 1e-8).";
    loss_drop, loss_drop, with_loss_drop, first_order_loss_drop, "drop of the loss", "the first-order drop of the loss.";
}
