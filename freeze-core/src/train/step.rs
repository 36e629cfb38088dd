//! One batch: backward, update, policy.

use std::slice::from_ref;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::driven::as_plan;
use super::gradients::{Stepped, audited};
use super::hook::Observed;
use super::report::{Progress, Step};
use super::stop::{OnNonFinite, Stopped};
use super::training::Training;
use super::update::Update;
use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::nn::ops::held::{Held, held, kept};

impl<M: Freezable> Training<M> {
    /// Takes the loss of a batch: computes its gradients and, when enough batches are accumulated,
    /// clips and updates. Between updates the policy may freeze, and a checkpoint may be saved.
    ///
    /// The graph of the loss is released, as by [`backward_once`](crate::backward_once), also where the step fails then:
    /// compute the loss anew, and detach what a step computed from parameters and a later one uses, such as a recurrent
    /// state. [`retain_graph`](Self::retain_graph) keeps it.
    ///
    /// # Errors
    ///
    /// The loss is not a scalar, does not belong to a batch of the current epoch, is infinite or
    /// NaN, reaches no trained parameter, or goes through what an earlier step has released
    /// ([`Error::Released`]), or the backward pass or the update fails: the step is not counted then,
    /// and the gradients accumulated for a failed update are lost. If one of
    /// several optimizers refuses its settings, those before it have already updated. If the policy
    /// or saving fails, the update has been made and counted.
    pub fn step(&mut self, loss: &Tensor) -> Result<Step> {
        self.step_with(Some(loss), 1.0)
    }

    /// The step of a loss that counts by a weight; without a loss, that of a rank without a share.
    pub(super) fn step_with(&mut self, loss: Option<&Tensor>, weight: f64) -> Result<Step> {
        let done = self.stepped(loss, weight);
        self.telling(done)
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
        self.tell_plan(None);
        let (due, finite) = (self.clock.step_is_due(), report.loss.is_finite());
        if !finite && self.on_non_finite != OnNonFinite::Skip {
            return self.unfit_loss(report, batch.unfit);
        }
        let weighed = loss.filter(|_| finite && !self.weighed);
        let mut run = || match (&self.in_backward, loss) {
            (Some(_), Some(loss)) => self.backward_with_update(loss),
            (_, loss) => self.backward_then_update(loss.filter(|_| finite), batch, due),
        };
        let (stepped, held) = if weighed.is_some() { held(run) } else { (run(), Held::new()) };
        let Stepped { update, look, observed } = stepped?;
        if let Some(loss) = weighed {
            self.weighed = true;
            self.tell_plan(Some(kept(from_ref(loss), &held)));
        }
        match update {
            None => {}
            Some(Update::Done { reached, grad_norm }) => {
                (report.updated, report.grad_norm) = (reached, grad_norm)
            }
            Some(Update::Unfit { names }) => match self.on_non_finite {
                OnNonFinite::Error => return Err(Error::NonFinite { names }),
                OnNonFinite::Stop => {
                    self.clock.back_to_step();
                    return Ok(self.stop(report));
                }
                OnNonFinite::Skip => self.clock.left_out += 1,
            },
        }
        if let Some((findings, frozen)) = look {
            audited(&mut self.policy, &mut self.audited).take(findings, frozen);
        }
        self.clock.took(finite.then_some(report.loss));
        if due {
            self.clock.stepped();
        }
        self.count_time();
        self.look(report.loss);
        // All that a turn's loss reaches may be frozen, where a policy's window over the other turns ends.
        let turns = self.clock.length.turns > 1;
        let shows =
            |observed: &Observed| report.updated || (turns && observed.shows_without_update());
        let shown = self.after_update(observed.filter(shows), report.loss);
        // The step is counted: what is due behind it is made whatever the policy thinks of what it was shown.
        if due && !self.clock.epoch_is_full() {
            self.between_steps(&mut report)?;
        }
        shown.map(|()| report)
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

    /// Counts the time since it was counted last.
    fn count_time(&mut self) {
        let now = Instant::now();
        self.spent.training += now.duration_since(self.counted);
        (self.counted, self.clock.spent) = (now, self.spent);
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
        // One that was given within the epoch.
        self.begin_policy()?;
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
            self.found.extend_from_slice(&frozen.findings);
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

/// The loss as a number.
fn scalar(loss: &Tensor) -> Result<f64> {
    if loss.elem_count() != 1 {
        return Err(Error::training(format!(
            "the loss has shape {:?}; make it a scalar, by `mean_all` for instance",
            loss.dims()
        )));
    }
    // Metal has no F64.
    let loss = loss.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(loss.flatten_all()?.get(0)?.to_scalar()?)
}
