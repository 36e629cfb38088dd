//! Gradients of what trains, averaged over the ranks.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId};

use super::buckets::Buckets;
use super::courier::Courier;
use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::nn::hand_over;
use crate::train::Training;

impl<M: Freezable> Training<M> {
    /// The mean of the ranks' gradients; `None` if no rank has any. The ranks bring one buffer: all trained variables,
    /// the last declared first, and for each whether the rank has a gradient of it.
    pub(in crate::train) fn exchanged(
        &mut self,
        own: Result<Option<GradStore>>,
    ) -> Result<Option<GradStore>> {
        let Some(ranks) = &self.ranks else { return own };
        let mut buckets = Buckets::new(&self.trained, usize::MAX, 1.0 / ranks.group.size() as f64);
        let put = own.and_then(|own| self.put_all(&mut buckets, &own.unwrap_or_default()));
        self.average_statistics()?;
        self.all_can("the gradients of a step", put)?;
        let mut travelled = Vec::new();
        while let Some(mut flat) = buckets.rest() {
            flat.add_up(&ranks.group, ranks.halves)?;
            travelled.push(flat);
        }
        Ok(buckets.unpack(travelled)?)
    }

    fn put_all(&self, buckets: &mut Buckets, grads: &GradStore) -> Result<()> {
        for (_, var) in &self.trained {
            grads.get(var).map_or(Ok(()), |gradient| buckets.put(var.id(), gradient))?;
        }
        Ok(())
    }

    /// Whether gradients are sent within the backward.
    pub(in crate::train) fn sends_within_backward(&self) -> bool {
        let sends = self.ranks.as_ref().is_some_and(|ranks| ranks.bucket.is_some());
        sends && self.clock.length.accumulate == 1
    }

    /// As [`exchanged`](Self::exchanged), of the loss of a batch, if this rank has a share of it, and each bucket as soon as
    /// it is whole. Also returns for which variables this rank has a gradient.
    pub(in crate::train) fn exchanged_within_backward(
        &mut self,
        loss: Option<&Tensor>,
        scale: f64,
    ) -> Result<(Option<GradStore>, impl Fn(TensorId) -> bool + use<M>)> {
        let ready = loss.map(|loss| self.ready_in(loss)).transpose()?.unwrap_or_default();
        let Some(ranks) = &mut self.ranks else { return Err(Error::training("it has no ranks")) };
        let (group, halves) = (ranks.group.clone(), ranks.halves);
        let courier = match ranks.courier.take() {
            Some(courier) => courier,
            None => Courier::new(&group, halves)?,
        };
        let (bytes, share) = (ranks.bucket.unwrap_or(usize::MAX), 1.0 / group.size() as f64);
        let sending = Rc::new(RefCell::new(Sending {
            buckets: Buckets::new(&self.trained, bytes, share),
            courier,
            error: None,
        }));
        let start = Instant::now();
        let rest = match loss {
            Some(loss) => {
                let (shared, buffers) = (sending.clone(), self.free_buffers());
                let given = buffers.clone();
                let receive = move |id, gradient: Tensor| {
                    shared.borrow_mut().receive(id, &gradient)?;
                    given.iter().for_each(|buffers| buffers.give_back(&gradient));
                    Ok(())
                };
                let scaled;
                let loss = match scale {
                    1.0 => loss,
                    scale => {
                        scaled = (loss * scale)?;
                        &scaled
                    }
                };
                hand_over(loss, &ready, buffers.as_ref(), Box::new(receive))
            }
            None => Ok(GradStore::default()),
        };
        self.spent.backward += start.elapsed();
        let Ok(sending) = Rc::try_unwrap(sending) else {
            return Err(Error::training("the backward still holds its gradients"));
        };
        let Sending { mut buckets, mut courier, error } = sending.into_inner();
        let put = match (error, rest) {
            (Some(error), _) => Err(error),
            (None, rest) => {
                rest.map_err(Error::from).and_then(|rest| self.put_all(&mut buckets, &rest))
            }
        };
        let mut travelled = courier.all()?;
        if put.is_err() {
            // The others are at the next bucket.
            self.all_can("the gradients of a step", put)?;
        }
        while let Some(flat) = buckets.rest() {
            courier.take(flat)?;
        }
        travelled.extend(courier.all()?);
        self.average_statistics()?;
        if let Some(ranks) = &mut self.ranks {
            ranks.courier = Some(courier);
        }
        let mean = buckets.unpack(travelled)?;
        Ok((mean, move |id| buckets.has(id)))
    }
}

/// Buckets, and who sends them while the backward goes on.
struct Sending {
    buckets: Buckets,
    courier: Courier,
    error: Option<Error>,
}

impl Sending {
    fn receive(&mut self, id: TensorId, gradient: &Tensor) -> candle_core::Result<()> {
        self.buckets.put(id, gradient)?;
        while let Some(flat) = self.buckets.whole() {
            if let Err(error) = self.courier.take(flat) {
                let message = error.to_string();
                self.error = Some(error);
                candle_core::bail!("{message}")
            }
        }
        Ok(())
    }
}
