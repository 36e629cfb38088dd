//! One batch: backward, update, policy.

use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, TensorId};

use super::clock::Length;
use super::driven::as_plan;
use super::epoch::Epoch;
use super::parallel::Shared;
use super::report::{Progress, Spent, Step};
use super::stop::{OnNonFinite, Stopped};
use super::training::Training;
use super::update::Update;
use crate::audit::{Finding, glance_at};
use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::nn::backward_into;
use crate::train::hook::{Audited, BoxedHook, Observed};

/// What backward and update of a step did.
struct Stepped {
    /// `None` if the batch was only accumulated.
    update: Option<Update>,
    look: Option<Look>,
    observed: Option<Observed>,
}

/// The findings of a step, and which leaves were frozen.
type Look = (Vec<Finding>, Vec<bool>);

impl<M: Freezable> Training<M> {
    /// Returns the next epoch, or the unfinished one; `None` when the run is over.
    ///
    /// # Errors
    ///
    /// No [`length`](Self::length) is set, a trained variable has no optimizer, or the last epoch's
    /// batches are done and [`epoch_end`](Self::epoch_end) was not called; or, before the first
    /// epoch, the folder has checkpoints that the run was not resumed from, or the run could not be
    /// saved.
    pub fn next_epoch(&mut self) -> Result<Option<Epoch>> {
        let ready = self.check_ready();
        self.join(ready)?;
        if self.clock.is_over() {
            self.finish_sinks();
            return Ok(None);
        }
        let can_begin = self.check_begin();
        self.all_can("beginning", can_begin)?;
        self.begin_together()?;
        self.begin_policy()?;
        self.clock.begin_epoch()?;
        self.recheck_cache();
        self.cached = self.cache.as_ref().map(ActivationCache::stats).unwrap_or_default();
        self.upcoming = None;
        // With the first step: the forward before it has moved the cache to the frozen front.
        self.told = false;
        (self.began, self.spent) = (Instant::now(), Spent::default());
        let length = self.clock.length;
        Ok(Some(Epoch {
            index: self.clock.epoch,
            epochs: length.epochs,
            batches: length.batches,
            done: self.clock.batches_done(),
            seed: self.clock.seed,
        }))
    }

    /// Takes the loss of a batch: computes its gradients and, when enough batches are accumulated,
    /// clips and updates. Between updates the policy may freeze, and a checkpoint may be saved.
    ///
    /// # Errors
    ///
    /// The loss is not a scalar, does not belong to a batch of the current epoch, is infinite or
    /// NaN, or reaches no trained parameter, or the backward pass or the update fails: the step is
    /// not counted then, and the gradients accumulated for a failed update are lost. If one of
    /// several optimizers refuses its settings, those before it have already updated. If the policy
    /// or saving fails, the update has been made and counted.
    pub fn step(&mut self, loss: &Tensor) -> Result<Step> {
        self.step_with(Some(loss), 1.0)
    }

    /// The step of a loss that counts by a weight; without a loss, that of a rank without a share.
    pub(super) fn step_with(&mut self, loss: Option<&Tensor>, weight: f64) -> Result<Step> {
        let done = self.stepped(loss, weight);
        if let (Err(error), Some(group)) = (&done, self.group()) {
            group.failed(error);
        }
        done
    }

    fn stepped(&mut self, loss: Option<&Tensor>, weight: f64) -> Result<Step> {
        let mut report = Step {
            loss: f64::NAN,
            updated: false,
            grad_norm: None,
            frozen: None,
            saved: None,
            stopped: self.clock.stopped,
        };
        if report.stopped.is_some() {
            return Ok(report);
        }
        let own = self.check_place().and_then(|()| loss.map_or(Ok(0.0), scalar));
        let batch = self.loss_of_all(own, weight)?;
        report.loss = batch.loss;
        self.tell_plan();
        let (due, finite) = (self.clock.step_is_due(), report.loss.is_finite());
        if !finite && self.on_non_finite != OnNonFinite::Skip {
            return self.unfit_loss(report, batch.unfit);
        }
        let Stepped { update, look, observed } = match (&self.in_backward, loss) {
            (Some(_), Some(loss)) => self.backward_with_update(loss)?,
            (_, loss) => self.backward_then_update(loss.filter(|_| finite), batch, due)?,
        };
        match update {
            None => {}
            Some(Update::Done { reached, grad_norm }) => {
                (report.updated, report.grad_norm) = (reached, grad_norm)
            }
            Some(Update::Unfit { names }) => match self.on_non_finite {
                OnNonFinite::Error => return Err(Error::NonFinite { names }),
                OnNonFinite::Stop => return Ok(self.stop(report)),
                OnNonFinite::Skip => self.clock.left_out += 1,
            },
        }
        if let Some((findings, frozen)) = look {
            audited(&mut self.policy, &mut self.audited).take(findings, frozen);
        }
        self.clock.took(finite.then_some(report.loss));
        self.clock.step += usize::from(due);
        self.spent.training = self.began.elapsed();
        self.look(report.loss);
        if report.updated {
            self.after_update(observed, report.loss)?;
        }
        if due && !self.clock.epoch_is_full() {
            self.between_steps(&mut report)?;
        }
        Ok(report)
    }

    /// An error unless the next epoch can begin.
    fn check_ready(&mut self) -> Result<()> {
        self.check_whole()?;
        self.ready()?;
        match self.clock.epoch_is_full() {
            true => Err(Error::training("the epoch's batches are done; call `epoch_end`")),
            false => Ok(()),
        }
    }

    fn check_place(&self) -> Result<()> {
        if !self.clock.within {
            return Err(Error::training("no epoch is under way; call `next_epoch` first"));
        }
        if self.clock.epoch_is_full() {
            return Err(Error::training(format!(
                "the epoch's {} batches are done; call `epoch_end`, and where there are more, say so \
                 by `length` before the run begins",
                self.clock.length.batches
            )));
        }
        Ok(())
    }

    fn backward_with_update(&mut self, loss: &Tensor) -> Result<Stepped> {
        let observed = self.before_backward()?;
        let (update, reached) = self.backward_and_update(loss)?;
        let look = self.look_if_due(loss, &|id| reached.contains(&id))?;
        Ok(Stepped { update: Some(update), look, observed })
    }

    fn backward_then_update(
        &mut self,
        loss: Option<&Tensor>,
        batch: Shared,
        due: bool,
    ) -> Result<Stepped> {
        let mut look = None;
        let gathered = if self.sends_within_backward() {
            let (mean, has) = self.exchanged_within_backward(loss, batch.scale)?;
            if let Some(loss) = loss {
                look = self.look_if_due(loss, &has)?;
            }
            mean
        } else {
            let own = self.own_gradients(loss, batch, due, &mut look);
            if due { self.exchanged(own)? } else { own? }
        };
        let Some(mut grads) = gathered else {
            return Ok(Stepped { update: None, look, observed: None });
        };
        let (update, observed) = self.timed_update(&mut grads)?;
        Ok(Stepped { update: Some(update), look, observed })
    }

    /// The gradients to update with, if an update is due.
    fn own_gradients(
        &mut self,
        loss: Option<&Tensor>,
        batch: Shared,
        due: bool,
        look: &mut Option<Look>,
    ) -> Result<Option<GradStore>> {
        let grads = match loss {
            Some(loss) => {
                let grads;
                (grads, *look) = self.backward(loss, batch.scale)?;
                Some(grads)
            }
            // A rank without a share counts in the mean of what is accumulated.
            None => batch.loss.is_finite().then(GradStore::default),
        };
        self.gathered(grads, batch.total, due)
    }

    /// The gradients of a loss, and the findings if no step has been checked since leaves froze or
    /// thawed.
    fn backward(&mut self, loss: &Tensor, scale: f64) -> Result<(GradStore, Option<Look>)> {
        let Length { accumulate, turns, .. } = self.clock.length;
        let buffers = self.free_buffers();
        // The mean is over all losses; the parameters of each turn have one loss per batch.
        let scale = if accumulate > 1 { scale * turns as f64 } else { scale };
        let grads = timed(&mut self.spent.backward, || match scale {
            1.0 => backward_into(loss, buffers.as_ref()),
            scale => backward_into(&(loss * scale)?, buffers.as_ref()),
        })?;
        let look = self.look_if_due(loss, &|id| grads.get_id(id).is_some())?;
        Ok((grads, look))
    }

    /// The findings of a step whose gradients reached the variables for which `reached` is true.
    fn look_if_due(
        &mut self,
        loss: &Tensor,
        reached: &dyn Fn(TensorId) -> bool,
    ) -> Result<Option<Look>> {
        let audited = audited(&mut self.policy, &mut self.audited);
        Ok(match (audited.is_due(&self.freezer), self.clock.length.turns) {
            (None, _) => None,
            (Some(frozen), 1) => Some((glance_at(&self.freezer, loss, reached)?, frozen)),
            // The loss of one turn does not have to reach everything that trains.
            (Some(frozen), _) => Some((Vec::new(), frozen)),
        })
    }

    /// Adds gradients up over batches, if they are accumulated.
    fn gathered(
        &mut self,
        grads: Option<GradStore>,
        weight: f64,
        due: bool,
    ) -> Result<Option<GradStore>> {
        if self.clock.length.accumulate == 1 {
            return Ok(grads);
        }
        if let Some(grads) = grads {
            if self.group().is_none() {
                self.check_reached(&grads)?;
            }
            self.sums.accumulate_grads(grads, weight)?;
        }
        match due && !self.sums.is_empty() {
            true => Ok(Some(self.sums.take()?)),
            false => Ok(None),
        }
    }

    fn timed_update(&mut self, grads: &mut GradStore) -> Result<(Update, Option<Observed>)> {
        let start = Instant::now();
        let update = self.update(grads);
        self.spent.update += start.elapsed();
        update
    }

    fn unfit_loss(&mut self, report: Step, rank: Option<usize>) -> Result<Step> {
        match (self.on_non_finite, rank.filter(|_| self.group().is_some())) {
            (OnNonFinite::Stop, _) => Ok(self.stop(report)),
            (_, Some(rank)) => Err(Error::rank(
                rank,
                format!(
                    "its loss is infinite or NaN in batch {} of epoch {}; nothing was updated on any rank",
                    self.clock.batches_done(),
                    self.clock.epoch
                ),
            )),
            _ => Err(Error::NonFiniteLoss {
                value: report.loss,
                epoch: self.clock.epoch,
                batch: self.clock.batches_done(),
            }),
        }
    }

    fn stop(&mut self, report: Step) -> Step {
        self.clock.stopped = Some(Stopped::NonFinite);
        Step { stopped: self.clock.stopped, ..report }
    }

    fn look(&mut self, loss: f64) {
        let progress = Progress {
            elapsed: self.clock.elapsed(),
            batch: self.clock.batches_done(),
            batches: self.clock.length.batches,
            loss,
            mean_loss: self.clock.mean_loss(),
        };
        if let Some(watch) = &mut self.watch {
            watch(&progress);
        }
    }

    fn between_steps(&mut self, report: &mut Step) -> Result<()> {
        let elapsed = self.clock.elapsed();
        if let Some(policy) = &mut self.policy {
            let mut optimizers = as_plan(&mut self.optimizers);
            let frozen = policy.step_end(&mut self.freezer, &mut optimizers, elapsed);
            if !matches!(frozen, Ok(None)) {
                self.planned();
            }
            report.frozen = frozen?;
        }
        if let Some(frozen) = &report.frozen {
            self.record_frozen(frozen, elapsed);
            if frozen.ends_run {
                self.clock.stopped = Some(Stopped::Policy);
                report.stopped = self.clock.stopped;
                report.saved = self.save_if_due()?;
                return Ok(());
            }
        }
        if self.saves_by_steps() && self.clock.batch_is_whole() {
            report.saved = self.save_if_due()?;
        }
        Ok(())
    }
}

/// The record of checked steps: the policy's, if there is a policy.
fn audited<'a>(policy: &'a mut Option<BoxedHook>, own: &'a mut Audited) -> &'a mut Audited {
    match policy {
        Some(policy) => policy.audited(),
        None => own,
    }
}

/// The loss as a number.
fn scalar(loss: &Tensor) -> Result<f64> {
    if loss.elem_count() != 1 {
        return Err(Error::training(format!(
            "the loss has shape {:?}; make it a scalar, by `mean_all` for instance",
            loss.dims()
        )));
    }
    Ok(loss.detach().to_dtype(DType::F64)?.flatten_all()?.get(0)?.to_scalar()?)
}

/// Runs `work` and adds the time it takes to `total`.
fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}
