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
use crate::train::seen::Graphs;

impl<M: Freezable> Training<M> {
    /// The mean of the ranks' gradients; `None` if no rank has any. The ranks bring one buffer: all trained variables,
    /// the last declared first, and for each whether the rank has a gradient of it.
    pub(in crate::train) fn exchanged(
        &mut self,
        own: Result<Option<GradStore>>,
    ) -> Result<Option<GradStore>> {
        let Some(ranks) = &self.ranks else { return own };
        let buckets = ranks.buckets(&self.trained, usize::MAX);
        let put = own.and_then(|own| {
            let mut buckets = buckets?;
            self.put_all(&mut buckets, &own.unwrap_or_default())?;
            Ok(buckets)
        });
        self.average_statistics()?;
        let mut buckets = self.all_can("the gradients of a step", put)?;
        let mut travelled = Vec::new();
        while let Some(mut flat) = buckets.rest()? {
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
        let Some(ranks) = &mut self.ranks else { return Err(Error::training("it has no ranks")) };
        let (group, halves) = (ranks.group.clone(), ranks.halves);
        let courier = match ranks.courier.take() {
            Some(courier) => courier,
            None => Courier::new(&group, halves)?,
        };
        let buckets = ranks.buckets(&self.trained, ranks.bucket.unwrap_or(usize::MAX))?;
        let sending = Rc::new(RefCell::new(Sending { buckets, courier, error: None }));
        let rest = match loss {
            Some(loss) => self.backward_sending(loss, scale, &sending),
            None => Ok(GradStore::default()),
        };
        let Ok(sending) = Rc::try_unwrap(sending) else {
            return Err(Error::training("the backward still holds its gradients"));
        };
        let Sending { mut buckets, mut courier, error } = sending.into_inner();
        let put = match error {
            Some(error) => Err(error),
            None => rest.and_then(|rest| self.put_all(&mut buckets, &rest)),
        };
        let mut travelled = courier.all()?;
        if put.is_err() {
            // The graph may be another than the ones that were analysed.
            self.graphs = Graphs::default();
            // The others are at the next bucket.
            self.all_can("the gradients of a step", put)?;
        }
        while let Some(flat) = buckets.rest()? {
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

    /// The backward of a loss times `scale`, which sends buckets; returns the gradients that are complete only now.
    fn backward_sending(
        &mut self,
        loss: &Tensor,
        scale: f64,
        sending: &Rc<RefCell<Sending>>,
    ) -> Result<GradStore> {
        let start = Instant::now();
        let ready = self.ready_in(loss)?;
        let (buffers, sending) = (self.free_buffers(), sending.clone());
        let used = buffers.clone();
        let receive = move |id, gradient: Tensor| {
            sending.borrow_mut().receive(id, &gradient)?;
            used.iter().for_each(|buffers| buffers.give_back(&gradient));
            Ok(())
        };
        let loss = if scale == 1.0 { loss.clone() } else { (loss * scale)? };
        let rest = hand_over(&loss, self.graph, &ready, buffers.as_ref(), Box::new(receive));
        self.spent.backward += start.elapsed();
        Ok(rest?)
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
