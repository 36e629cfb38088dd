//! Gradient accumulation: the gradients of several micro-batches are added up, and one step uses their mean.

mod saved;
mod sum;

use std::sync::Arc;

use candle_core::{DType, Tensor, Var, backprop::GradStore};
use candle_nn::Optimizer;

pub(crate) use self::sum::SavedSum;
use self::sum::Sum;
use crate::error::{Error, Result, check_positive};
use crate::kernel::real_dtype;
use crate::nn::backward;
use crate::plan::{PlannedVar, by_id};

/// Adds up gradients over micro-batches; one [`step`](Self::step) then uses their mean.
///
/// Built from every variable of a model, it keeps gradients only for those that get one. Frozen
/// variables of a view get none, and other gradients that candle computes (such as for detached
/// weights) are dropped at once. Sums are detached, and in `f32` for half-precision variables.
///
/// If a plan changes between two micro-batches, call [`follow`](Self::follow) (as
/// [`Training`](crate::train::Training) does): sums of leaves that froze must not update them, and
/// the mean for a leaf that thawed is over the micro-batches in which it trained.
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
    gathered: Vec<Gathered>,
}

/// One variable and the sum of its gradients.
#[derive(Debug)]
struct Gathered {
    var: Var,
    /// The full name, known after the first plan.
    name: Option<Arc<str>>,
    frozen: bool,
    sum: Sum,
}

impl GradAccumulator {
    /// Accumulates gradients for `vars`, all of them trained until a plan says otherwise.
    pub fn new(vars: Vec<Var>) -> Self {
        let gathered = |var| Gathered { var, name: None, frozen: false, sum: Sum::default() };
        Self { gathered: vars.into_iter().map(gathered).collect() }
    }

    /// Follows a plan, from [`planned_vars`](crate::Freezer::planned_vars): for variables that are
    /// frozen under it the sums are dropped and no gradients are accumulated. Variables that are
    /// not in `vars` stay as they are.
    pub fn follow(&mut self, vars: &[PlannedVar]) {
        let planned = by_id(vars);
        for gathered in &mut self.gathered {
            let Some(planned) = planned.get(&gathered.var.id()) else { continue };
            gathered.name = Some(planned.name.clone());
            gathered.frozen = planned.state.is_frozen();
            if gathered.frozen {
                gathered.sum = Sum::default();
            }
        }
    }

    /// Adds the gradients of `loss`.
    ///
    /// # Errors
    ///
    /// The backward pass fails.
    pub fn accumulate(&mut self, loss: &Tensor) -> Result<()> {
        self.accumulate_weighted(loss, 1.0)
    }

    /// Adds the gradients of `loss` times `weight`. With the mean loss of each micro-batch and its
    /// number of samples as the weight, micro-batches of different sizes give the gradient of the
    /// whole batch. Only the ratios of the weights matter.
    ///
    /// # Errors
    ///
    /// `weight` is not a finite number above 0, or the backward pass fails.
    pub fn accumulate_weighted(&mut self, loss: &Tensor, weight: f64) -> Result<()> {
        check_positive("weight", weight)?;
        self.accumulate_grads(backward(loss)?, weight)
    }

    /// Adds gradients that are already computed; `weight` as in
    /// [`accumulate_weighted`](Self::accumulate_weighted). A trained variable without a gradient
    /// counts as having a gradient of zero.
    ///
    /// # Errors
    ///
    /// `weight` is not a finite number above 0, a gradient does not fit its variable, or its device has no room for the
    /// sum; the sums are unchanged then.
    pub fn accumulate_grads(&mut self, mut grads: GradStore, weight: f64) -> Result<()> {
        check_positive("weight", weight)?;
        let mut due = Vec::with_capacity(self.gathered.len());
        for (i, gathered) in self.gathered.iter().enumerate() {
            due.push(match (grads.remove(&gathered.var), gathered.frozen) {
                (Some(grad), false) => Some(gathered.fit(i, &grad)?),
                _ => None,
            });
        }
        drop(grads);
        // All memory is there before the first sum changes, or a device without room would leave some with the batch
        // and some without.
        let mut renewed = Vec::with_capacity(due.len());
        for (gathered, grad) in self.gathered.iter().zip(&due) {
            renewed.push(match gathered.frozen {
                true => None,
                false => gathered.sum.renewed(grad.as_ref(), weight)?,
            });
        }
        for (gathered, (grad, renewed)) in self.gathered.iter_mut().zip(due.iter().zip(renewed)) {
            if !gathered.frozen {
                gathered.sum.add(grad.as_ref(), weight, renewed)?;
            }
        }
        Ok(())
    }

    /// Returns the mean of the gradients added so far, for each variable in its type, and starts
    /// again from zero.
    ///
    /// # Errors
    ///
    /// candle fails; the sums are lost then.
    pub fn take(&mut self) -> Result<GradStore> {
        let mut grads = GradStore::default();
        let sums: Vec<Sum> =
            self.gathered.iter_mut().map(|gathered| std::mem::take(&mut gathered.sum)).collect();
        for (Gathered { var, .. }, sum) in self.gathered.iter().zip(sums) {
            if let Some(mean) = sum.mean()? {
                grads.insert(var, in_type(&mean, var.dtype())?);
            }
        }
        Ok(grads)
    }

    /// Makes a step with the mean of the gradients added so far and starts again from zero, whether
    /// the step fails or not.
    ///
    /// # Errors
    ///
    /// The step fails.
    pub fn step(&mut self, optimizer: &mut impl Optimizer) -> Result<()> {
        let grads = self.take()?;
        Ok(optimizer.step(&grads)?)
    }

    /// Drops what was added so far, as after a batch that should not count.
    pub fn clear(&mut self) {
        self.gathered.iter_mut().for_each(|gathered| gathered.sum = Sum::default());
    }

    /// Whether nothing has been added yet.
    pub fn is_empty(&self) -> bool {
        self.gathered.iter().all(|gathered| gathered.sum.is_empty())
    }

    /// The bytes of all sums.
    pub fn bytes(&self) -> usize {
        self.gathered.iter().map(|gathered| gathered.sum.bytes()).sum()
    }
}

impl Gathered {
    /// The gradient in the type of its sum; an error if it does not fit its variable.
    fn fit(&self, place: usize, grad: &Tensor) -> Result<Tensor> {
        let var = &self.var;
        let acc = real_dtype(var.dtype()).filter(|_| grad.shape() == var.shape());
        let Some(acc) = acc else {
            let why = format!(
                "its gradient is {:?} {:?}, the variable {:?} {:?}",
                grad.dtype(),
                grad.dims(),
                var.dtype(),
                var.dims()
            );
            let known = self.name.as_deref().map(str::to_string);
            let name = known.unwrap_or_else(|| format!("variable {place}"));
            return Err(Error::Optimizer { optimizer: "GradAccumulator", name, why });
        };
        Ok(in_type(&grad.detach(), acc)?.contiguous()?)
    }
}

/// In this type; no elements are of any, and a card converts none.
fn in_type(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    Ok(match tensor.elem_count() {
        0 => Tensor::zeros(tensor.shape(), dtype, tensor.device())?,
        _ => tensor.to_dtype(dtype)?,
    })
}
