//! Updates within the backward pass: each gradient is used as soon as it is complete, and then
//! freed.

use std::collections::HashSet;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId};

use super::eager::Lent;
use super::seen::{Graphs, InBackward};
use super::stop::OnNonFinite;
use super::training::Training;
use super::update::Update;
use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::nn::hand_over;
use crate::optim::GradClip;

impl<M: Freezable> Training<M> {
    /// Updates each parameter within the backward pass, as soon as its gradient is complete, and
    /// frees the gradient (LOMO: Lv et al. 2023, arXiv:2306.09782). Only a few gradients then exist
    /// at a time. Weights are bit-identical to those of a run without it.
    ///
    /// This applies to gradients that operations of [`nn`](crate::nn) compute. A gradient that
    /// candle's own operations contribute to is used after the backward, together with all others
    /// of that kind. The first step, and the first one after a plan froze or thawed leaves, runs
    /// its backward twice, once to find out which gradients these are.
    ///
    /// Each gradient is checked before it is used. Because an update cannot be undone, a gradient
    /// that is infinite or NaN, or any other error after the first update, leaves a run that takes
    /// no further step until it is resumed, and only [`OnNonFinite::Error`] is allowed. Clipping by
    /// the norm of all gradients and accumulation are not possible:
    /// [`next_epoch`](Self::next_epoch) and [`step`](Self::step) refuse them. If a trained weight
    /// is also used detached, use it in operations of [`nn`](crate::nn): candle's own would read it
    /// in their backward after it was updated, which is not detected.
    pub fn update_in_backward(self) -> Self {
        Self { in_backward: Some(InBackward::default()), ..self }
    }

    /// An error for settings that need all gradients at once.
    pub(super) fn check_in_backward(&self) -> Result<()> {
        if self.in_backward.is_none() {
            return Ok(());
        }
        let refuse = |what: String| {
            Err(Error::training(format!(
                "`update_in_backward` has no place for {what}; leave one of them out"
            )))
        };
        if let GradClip::Norm(_) = self.clip {
            return refuse("`GradClip::Norm`, which needs all gradients at once".into());
        }
        if self.group().is_some() {
            return refuse("`parallel`, which averages all gradients over the ranks".into());
        }
        if self.clock.length.accumulate > 1 {
            return refuse("`accumulate`, which adds gradients up over batches".into());
        }
        if self.on_non_finite != OnNonFinite::Error {
            let what =
                format!("`OnNonFinite::{:?}`, as updates cannot be undone", self.on_non_finite);
            return refuse(what);
        }
        match self.optimizers.iter().find(|driven| !driven.steps_in_parts()) {
            Some(driven) => {
                let kind = driven.kind();
                refuse(format!("{kind} as it is set, which must step by all gradients at once"))
            }
            None => Ok(()),
        }
    }

    /// An error if a step left the run half updated.
    pub(super) fn check_whole(&self) -> Result<()> {
        match self.in_backward {
            Some(InBackward { torn: true }) => {
                let why = "a step failed when some of its parameters were updated; resume the run \
                           from a checkpoint";
                Err(Error::training(why))
            }
            _ => Ok(()),
        }
    }

    /// Marks the run as consistent again.
    pub(super) fn mend(&mut self) {
        if let Some(state) = &mut self.in_backward {
            state.torn = false;
        }
    }

    /// Runs the backward of a loss with the updates in it; also returns the variables that got a
    /// gradient.
    pub(super) fn backward_and_update(
        &mut self,
        loss: &Tensor,
    ) -> Result<(Update, HashSet<TensorId>)> {
        let start = Instant::now();
        self.check_whole()?;
        self.check_in_backward()?;
        let ready = self.ready_in(loss)?;
        self.set_rates()?;
        let clipping = self.clipping();
        let buffers = self.free_buffers();
        let lent =
            Lent::new(&mut self.optimizers, clipping, &self.trained, &self.frozen, buffers.clone());
        let eager = lent.eager.clone();
        let receive = move |id, gradient| eager.borrow_mut().receive(id, gradient);
        let rest = hand_over(loss, self.graph, &ready, buffers.as_ref(), Box::new(receive));
        let done = lent.eager.borrow_mut().finish(rest);
        let (updated, took) = {
            let mut eager = lent.eager.borrow_mut();
            (std::mem::take(&mut eager.updated), eager.took)
        };
        drop(lent);
        // The graph may be another than the ones that were analysed.
        if done.is_err() {
            self.graphs = Graphs::default();
        }
        self.spent.update += took;
        self.spent.backward += start.elapsed().saturating_sub(took);
        self.done(done, updated)
    }

    fn done(
        &mut self,
        done: Result<()>,
        updated: HashSet<TensorId>,
    ) -> Result<(Update, HashSet<TensorId>)> {
        match done {
            Ok(()) if updated.is_empty() => {
                self.check_reached(&GradStore::default())?;
            }
            Ok(()) => {}
            Err(error) if updated.is_empty() => return Err(error),
            Err(source) => {
                if let Some(state) = &mut self.in_backward {
                    state.torn = true;
                }
                let (updated, of) = (updated.len(), self.trained.len());
                return Err(Error::HalfUpdated { updated, of, source: Box::new(source) });
            }
        }
        Ok((Update::Done { reached: !updated.is_empty(), grad_norm: None }, updated))
    }
}
