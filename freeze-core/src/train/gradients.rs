//! The gradients of a batch, and the update with them.

use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId};

use super::clock::Length;
use super::parallel::Shared;
use super::training::Training;
use super::update::Update;
use crate::audit::{Finding, glance_at};
use crate::error::Result;
use crate::model::Freezable;
use crate::nn::backward_into;
use crate::nn::ops::released::check_retained;
use crate::train::hook::{Audited, BoxedHook, Observed};

/// What backward and update of a step did.
pub(super) struct Stepped {
    /// `None` if the batch was only accumulated.
    pub(super) update: Option<Update>,
    pub(super) look: Option<Look>,
    pub(super) observed: Option<Observed>,
}

/// The findings of a step, and which leaves were frozen.
type Look = (Vec<Finding>, Vec<bool>);

impl<M: Freezable> Training<M> {
    pub(super) fn backward_with_update(&mut self, loss: &Tensor) -> Result<Stepped> {
        let mut observed = self.before_backward()?;
        let (update, reached) = self.backward_and_update(loss)?;
        if let Some(observed) = &mut observed {
            observed.keep_reached(&reached);
        }
        let look = self.look_if_due(loss, &|id| reached.contains(&id))?;
        Ok(Stepped { update: Some(update), look, observed })
    }

    pub(super) fn backward_then_update(
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
            let gathered = if due { self.exchanged(own) } else { own };
            // What ranks have gathered is lost on all of them, also on the one that failed before it took it.
            if due && gathered.is_err() && self.group().is_some() {
                self.sums.clear();
            }
            gathered?
        };
        let Some(mut grads) = gathered else {
            // That no rank's loss reaches anything is known only now.
            if due && batch.loss.is_finite() && self.group().is_some() {
                self.check_reached(&GradStore::default())?;
            }
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
        let own = match loss {
            Some(loss) => self.backward(loss, batch.scale).map(|(grads, found)| {
                *look = found;
                Some(grads)
            }),
            // A rank without a share counts in the mean of what is accumulated.
            None => Ok(batch.loss.is_finite().then(GradStore::default)),
        };
        // A batch is accumulated on all ranks or on none.
        let grads = if due { own? } else { self.all_can("the gradients of a batch", own)? };
        self.gathered(grads, batch.total, due)
    }

    /// The gradients of a loss, and the findings if no step has been checked since leaves froze or
    /// thawed.
    fn backward(&mut self, loss: &Tensor, scale: f64) -> Result<(GradStore, Option<Look>)> {
        let Length { accumulate, turns, .. } = self.clock.length;
        let buffers = self.free_buffers();
        // The mean is over all losses; the parameters of each turn have one loss per batch.
        let scale = if accumulate > 1 { scale * turns as f64 } else { scale };
        check_retained(loss)?;
        let graph = self.graph;
        let grads = timed(&mut self.spent.backward, || match scale {
            1.0 => backward_into(loss, graph, buffers.as_ref()),
            scale => backward_into(&(loss * scale)?, graph, buffers.as_ref()),
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
}

/// The record of checked steps: the policy's, if there is a policy.
pub(super) fn audited<'a>(
    policy: &'a mut Option<BoxedHook>,
    own: &'a mut Audited,
) -> &'a mut Audited {
    match policy {
        Some(policy) => policy.audited(),
        None => own,
    }
}

/// Runs `work` and adds the time it takes to `total`.
fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}
