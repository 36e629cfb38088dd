//! Gradients of several micro-batches, added up for one step.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var, backprop::GradStore};
use candle_nn::Optimizer;

use super::kernel::{acc_dtype, add_scaled};
use super::rule::check_number;
use crate::{Error, Result};

/// Adds up gradients over micro-batches; one [`step`](Self::step) then uses their mean.
///
/// Built from every variable of a model, it keeps gradients for those that get one: the frozen ones
/// of a view get none, and what candle computes on the way (for detached weights, say) is let go at
/// once. Sums are detached and stand in `f32` for half-precision variables.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use freeze_core::optim::{AdamW, GradAccumulator};
///
/// let weight = Var::ones(3, DType::F32, &Device::Cpu)?;
/// let mut opt = AdamW::new_lr(vec![weight.clone()], 0.1)?;
/// let mut sums = GradAccumulator::new(vec![weight.clone()]);
/// for batch in [1.0, 3.0] {
///     sums.accumulate(&(weight.sqr()? * batch)?.mean_all()?)?;
/// }
/// sums.step(&mut opt)?;
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Debug)]
pub struct GradAccumulator {
    vars: Vec<Var>,
    /// By place in `vars`.
    sums: BTreeMap<usize, Tensor>,
    weight: f64,
}

impl GradAccumulator {
    /// Gathers gradients for `vars`.
    pub fn new(vars: Vec<Var>) -> Self {
        Self { vars, sums: BTreeMap::new(), weight: 0.0 }
    }

    /// Adds the gradients of `loss`.
    ///
    /// # Errors
    ///
    /// The backward pass fails.
    pub fn accumulate(&mut self, loss: &Tensor) -> Result<()> {
        self.accumulate_weighted(loss, 1.0)
    }

    /// Adds the gradients of `loss`, which count `weight` times: with the mean loss of a
    /// micro-batch and its number of samples, micro-batches of different sizes give the gradient of
    /// the whole batch.
    ///
    /// # Errors
    ///
    /// `weight` is not a finite number above 0, or the backward pass fails.
    pub fn accumulate_weighted(&mut self, loss: &Tensor, weight: f64) -> Result<()> {
        check_number("weight", weight, f64::MIN_POSITIVE.., "a finite number above 0")?;
        self.accumulate_grads(loss.backward()?, weight)
    }

    /// Adds gradients that are there already; `weight` as in
    /// [`accumulate_weighted`](Self::accumulate_weighted).
    ///
    /// # Errors
    ///
    /// `weight` is not a finite number above 0, or a gradient does not fit its variable; the sums
    /// are as they were then.
    pub fn accumulate_grads(&mut self, mut grads: GradStore, weight: f64) -> Result<()> {
        check_number("weight", weight, f64::MIN_POSITIVE.., "a finite number above 0")?;
        let mut due = Vec::new();
        for (i, var) in self.vars.iter().enumerate() {
            let Some(grad) = grads.remove(var) else { continue };
            let acc = acc_dtype(var.dtype()).filter(|_| grad.shape() == var.shape());
            let Some(acc) = acc else {
                let why = format!(
                    "its gradient is {:?} {:?}, the variable {:?} {:?}",
                    grad.dtype(),
                    grad.dims(),
                    var.dtype(),
                    var.dims()
                );
                let name = format!("variable {i}");
                return Err(Error::Optimizer { optimizer: "GradAccumulator", name, why });
            };
            due.push((i, grad.detach().to_dtype(acc)?));
        }
        drop(grads);
        for (i, grad) in due {
            match self.sums.get(&i) {
                Some(sum) => add_scaled(sum, &grad, weight)?,
                // A tensor of our own, since it is written to later.
                None => drop(self.sums.insert(i, grad.affine(weight, 0.0)?)),
            }
        }
        self.weight += weight;
        Ok(())
    }

    /// The mean of what was added so far, by variable and in its type; starts anew.
    ///
    /// # Errors
    ///
    /// candle fails; what was added is gone then.
    pub fn take(&mut self) -> Result<GradStore> {
        let mut grads = GradStore::default();
        let weight = std::mem::replace(&mut self.weight, 0.0);
        for (i, sum) in std::mem::take(&mut self.sums) {
            let Some(var) = self.vars.get(i) else { continue };
            let mean = if weight == 1.0 { sum } else { (sum / weight)? };
            grads.insert(var, mean.to_dtype(var.dtype())?);
        }
        Ok(grads)
    }

    /// Steps by the mean of what was added and starts anew, whether the step fails or not.
    ///
    /// # Errors
    ///
    /// The step fails.
    pub fn step(&mut self, optimizer: &mut impl Optimizer) -> Result<()> {
        let grads = self.take()?;
        Ok(optimizer.step(&grads)?)
    }

    /// The bytes of sums held.
    pub fn bytes(&self) -> usize {
        self.sums.values().map(super::slot::bytes).sum()
    }
}
