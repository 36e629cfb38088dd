//! Gradients of the trained variables in buckets, the last declared first.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result as Candle, Tensor, TensorId, Var};

use super::flat::Flat;
use crate::kernel::bytes_of;

/// The buckets of one step.
#[derive(Debug)]
pub(super) struct Buckets {
    places: HashMap<TensorId, Place>,
    buckets: Vec<Bucket>,
    /// The first bucket that is not on its way.
    next: usize,
    /// What each gradient is multiplied by.
    share: f64,
    /// For each variable, by its number, whether this rank has a gradient.
    reached: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    number: usize,
    bucket: usize,
    at: usize,
}

#[derive(Debug)]
struct Bucket {
    /// `None` once it is on its way.
    flat: Option<Flat>,
    vars: Vec<Var>,
    len: usize,
    missing: usize,
}

impl Buckets {
    /// Buckets of at least `bytes`, each of variables of one kind, on the device of those for which `stays` is true
    /// and on the host for others.
    pub(super) fn new(
        trained: &[(Arc<str>, Var)],
        bytes: usize,
        share: f64,
        stays: &dyn Fn(&Device) -> bool,
    ) -> Candle<Self> {
        let mut this = Self {
            places: HashMap::new(),
            buckets: Vec::new(),
            next: 0,
            share,
            reached: vec![false; trained.len()],
        };
        let place = |var: &Var| stays(var.device()).then(|| var.device().clone());
        let kind =
            |var: &Var| (var.dtype() == DType::F64, place(var).as_ref().map(Device::location));
        let mut filled = usize::MAX;
        for (number, (_, var)) in trained.iter().rev().enumerate() {
            let last = this.buckets.last().and_then(|bucket| bucket.vars.last());
            if filled >= bytes || last.is_some_and(|last| kind(last) != kind(var)) {
                this.buckets.push(Bucket { flat: None, vars: Vec::new(), len: 0, missing: 0 });
                filled = 0;
            }
            let bucket = this.buckets.len() - 1;
            let open = &mut this.buckets[bucket];
            this.places.insert(var.id(), Place { number, bucket, at: open.len });
            open.vars.push(var.clone());
            open.len += var.elem_count();
            open.missing += 1;
            filled += bytes_of(var);
        }
        let last = this.buckets.len().saturating_sub(1);
        for (index, bucket) in this.buckets.iter_mut().enumerate() {
            let wide = bucket.vars.first().is_some_and(|var| kind(var).0);
            let flags = if index == last { trained.len() } else { 0 };
            bucket.flat = Some(match bucket.vars.first().and_then(place) {
                Some(card) => Flat::zeros_on(&card, wide, bucket.len)?,
                None => Flat::zeros(wide, bucket.len, flags),
            });
        }
        Ok(this)
    }

    /// Puts a gradient in its place.
    pub(super) fn put(&mut self, id: TensorId, gradient: &Tensor) -> Candle<()> {
        let Some(&Place { number, bucket, at }) = self.places.get(&id) else { return Ok(()) };
        let bucket = &mut self.buckets[bucket];
        if let Some(flat) = &mut bucket.flat {
            flat.put(at, gradient, self.share)?;
            bucket.missing -= 1;
            self.reached[number] = true;
        }
        Ok(())
    }

    /// The next bucket, if all its gradients are there and it is not the last.
    pub(super) fn whole(&mut self) -> Option<Flat> {
        let last = self.buckets.len().saturating_sub(1);
        let next = self.buckets[..last].get_mut(self.next).filter(|next| next.missing == 0)?;
        self.next += 1;
        next.flat.take()
    }

    /// The next bucket as it is; the last one with flags of all variables.
    pub(super) fn rest(&mut self) -> Candle<Option<Flat>> {
        let last = self.next + 1 == self.buckets.len();
        let next = self.buckets.get_mut(self.next);
        let Some(mut flat) = next.and_then(|next| next.flat.take()) else { return Ok(None) };
        self.next += 1;
        if last {
            flat.append(&self.reached)?;
        }
        Ok(Some(flat))
    }

    /// Whether this rank has a gradient of a variable.
    pub(super) fn has(&self, id: TensorId) -> bool {
        self.places.get(&id).is_some_and(|place| self.reached[place.number])
    }

    /// The gradients, from the buckets that have travelled, in their order: of the variables that any rank has one of.
    pub(super) fn unpack(&self, mut travelled: Vec<Flat>) -> Candle<Option<GradStore>> {
        let (Some(last), Some(bucket)) = (travelled.last_mut(), self.buckets.last()) else {
            return Ok(None);
        };
        let reached = last.split_off(bucket.len)?;
        let mut mean = GradStore::default();
        for (bucket, flat) in self.buckets.iter().zip(travelled) {
            let flat = flat.into_tensor()?;
            for var in &bucket.vars {
                let Place { number, at, .. } = self.places[&var.id()];
                if reached[number] {
                    let gradient = flat.narrow(0, at, var.elem_count())?.reshape(var.shape())?;
                    mean.insert(var, gradient.to_dtype(var.dtype())?.to_device(var.device())?);
                }
            }
        }
        Ok(reached.contains(&true).then_some(mean))
    }
}
