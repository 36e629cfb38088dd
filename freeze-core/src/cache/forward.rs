//! The forward through a cache.

use std::borrow::Borrow;

use candle_core::Device;

use super::activations::ActivationCache;
use super::context::CacheContext;
use super::front::Front;
use super::rounded::Rounded;
use super::samples::{FEW, Samples};
use super::seen::Seen;
use super::through::{Batch, through};
use super::trial::{are_close, select};
use crate::error::{Error, Result};
use crate::model::{Flow, Freezer, Staged, onward};

impl ActivationCache {
    /// The forward of the freezer's view; the frozen front runs only for samples without a record. `keys`
    /// has one key per sample of `xs`, which identifies the sample as it enters the model: an augmented
    /// view of an image needs another key than the image. The result is that of the model's own forward, bit
    /// for bit where the model treats the samples of a batch alike whatever their number (see
    /// `docs/CACHE.md`), else up to rounding.
    ///
    /// A stage is tried once, and a record is read whether the context says training or evaluation: use one mode
    /// in all forwards through a cache, or
    /// [`BatchNormPolicy::Inference`](crate::BatchNormPolicy::Inference) and no dropout in the frozen front.
    ///
    /// # Errors
    ///
    /// The number of keys is not the number of samples; the input or context of a key has changed; the input
    /// has a gradient; the output of a frozen stage cannot be stored, since a dropout is on, a batch norm
    /// normalises by the batch, or the stage draws random numbers or remembers. Nothing of the batch was
    /// stored then, and dropout generators and running statistics are as before. Or the forward fails.
    pub fn forward<M>(
        &mut self,
        freezer: &Freezer<M>,
        keys: &[u64],
        xs: M::Flow,
        context: &M::Context,
    ) -> Result<M::Flow>
    where
        M: Staged<Context: CacheContext>,
    {
        let (entry, hidden) = self.front(freezer, keys, xs, context)?;
        Ok(onward(&**freezer, entry, hidden, context)?)
    }

    /// What flows into the first stage that is not stored, and the number of stages in front of it.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub(crate) fn front<M>(
        &mut self,
        freezer: &Freezer<M>,
        keys: &[u64],
        xs: M::Flow,
        context: &M::Context,
    ) -> Result<(usize, M::Flow)>
    where
        M: Staged<Context: CacheContext>,
    {
        let (model, stages): (&M, _) = (freezer, freezer.stages());
        let batch = xs.batch()?;
        if keys.len() != batch {
            return Err(Error::cache(format!(
                "there are {} keys for {batch} samples: hand over one for each",
                keys.len()
            )));
        }
        let (is_frozen, device) = (self.settle(freezer)? > 0, device(&xs));
        // Before anything is frozen a device is not made to wait.
        let looks = self.looks_at_inputs && (is_frozen || device.is_cpu());
        if batch == 0 || !(is_frozen || looks) {
            return Ok((0, xs));
        }
        let prints = match looks {
            true => Some(prints(&xs, context, batch)?),
            false => None,
        };
        let samples = Samples::of(keys, prints.as_deref())?;
        let class = self.class(xs.row_layout()?);
        self.latest = class;
        self.classes[class].is_on(&device);
        let new = self.classes[class].check(&samples)?;
        if !is_frozen {
            return Ok((0, xs));
        }
        let batch = Batch { model, stages, samples, xs: &xs, context, device };
        let found = self.front_of_checked(&batch, class);
        if found.is_err() {
            self.classes[class].forget_inputs(&new);
        }
        found
    }

    /// As [`front`](Self::front), for inputs that are those of the keys as far as is known.
    fn front_of_checked<M>(
        &mut self,
        batch: &Batch<'_, M>,
        class: usize,
    ) -> Result<(usize, M::Flow)>
    where
        M: Staged<Context: CacheContext>,
    {
        if batch.xs.tensors().iter().any(|tensor| tensor.track_op()) {
            let why = "the input has a gradient, which a record would cut off; detach the input, or run the \
                       model's own forward";
            return Err(Error::cache(why));
        }
        self.check_refused(class)?;
        self.find_kept(batch, class)?;
        loop {
            if self.depth() == 0 {
                return Ok((0, batch.xs.detached()?));
            }
            if let Some(hidden) = self.front_of(batch, class)? {
                return Ok((self.depth(), hidden));
            }
        }
    }

    /// Drops the records that the present front would not compute; returns its number of stages.
    fn settle<M: Staged>(&mut self, freezer: &Freezer<M>) -> Result<usize> {
        match self.front.take() {
            Some(front) if !self.is_due && front.is_of(freezer)? => self.front = Some(front),
            before => {
                let mut front = Front::of(freezer, &self.boundary)?;
                let unchanged = before.as_ref().map_or(0, |before| front.unchanged(before));
                self.drop_beyond(unchanged.min(front.depth));
                if let Some(before) = &before {
                    front.know(before, unchanged);
                }
                if front.depth > 0 {
                    self.open()?;
                }
                (self.front, self.is_due) = (Some(front), false);
            }
        }
        Ok(self.depth())
    }

    pub(super) fn depth(&self) -> usize {
        self.front.as_ref().map_or(0, |front| front.depth)
    }

    /// Looks for records that earlier runs kept. Their layout is that of the activations, so a few samples
    /// run; and the trials are due anyway.
    fn find_kept<M>(&mut self, batch: &Batch<'_, M>, class: usize) -> Result<()>
    where
        M: Staged<Context: CacheContext>,
    {
        let samples = &batch.samples;
        while self.depth() > 0 && !self.is_open(class, self.depth()) {
            let Some(front) = &mut self.front else { return Ok(()) };
            let few: Vec<u32> = (0..samples.keys.len().min(FEW) as u32).collect();
            let rows = samples.rows(&few);
            let context = batch.context.select(&rows, samples.of_rows.len())?;
            let xs = select(batch.xs, &rows)?;
            let mut ran = through(front, batch, (0, few.len()), xs, context.borrow())?;
            let depth = front.depth;
            self.drop_beyond(depth);
            if ran.passed == depth {
                let rounded = Rounded::new(ran.flow, self.precision)?;
                self.keep::<M, _>(class, depth, (samples, &[]), &rounded)?;
                self.check_kept(batch, class, &rounded)?;
                ran.forms.retain(|(passed, _)| *passed < depth);
                self.find_earlier::<M>(class, ran.forms)?;
            }
        }
        Ok(())
    }

    /// Compares what the first samples give with the records that earlier runs kept of them, unless inputs are not
    /// looked at and may be others.
    fn check_kept<M>(
        &mut self,
        batch: &Batch<'_, M>,
        class: usize,
        few: &Rounded<M::Flow>,
    ) -> Result<()>
    where
        M: Staged<Context: CacheContext>,
    {
        let (samples, depth, count) = (&batch.samples, self.depth(), few.fit.len() as u32);
        let groups = self.classes[class].passed(samples, depth);
        let there = groups.get(&depth).into_iter().flatten().copied();
        let there: Vec<u32> = there.filter(|sample| *sample < count).collect();
        if samples.prints.is_none() || there.is_empty() {
            return Ok(());
        }
        let Some(read) = self.classes[class].read(depth, (samples, &there), &batch.device)? else {
            return Ok(());
        };
        let read: Rounded<M::Flow> = Rounded::new(read, self.precision)?;
        if are_close(&select(&few.kept, &there)?, &read.kept)? {
            return Ok(());
        }
        let stage = self.front.as_ref().map_or("", |front| front.path(front.depth));
        let why = format!(
            "what an earlier run kept in front of `{stage}` is not what the model gives for the same samples and \
             weights: its forward, a setting that is no tensor, or the arithmetic has changed; give the cache \
             another `version`, or clear the folder with `cache::clear` and begin anew"
        );
        // Not of the next batch either, of whose first samples there may be no record.
        self.classes[class].refused = Some((depth, why));
        self.check_refused(class)
    }

    fn check_refused(&self, class: usize) -> Result<()> {
        match &self.classes[class].refused {
            Some((_, why)) => Err(Error::cache(why.clone())),
            None => Ok(()),
        }
    }
}

fn device(xs: &impl Flow) -> Device {
    xs.tensors().first().map_or(Device::Cpu, |tensor| tensor.device().clone())
}

fn prints<F: Flow>(
    xs: &F,
    context: &(impl CacheContext + ?Sized),
    batch: usize,
) -> Result<Vec<u64>> {
    let mut seen = Seen::new(batch);
    xs.tensors().iter().try_for_each(|tensor| seen.samples(tensor))?;
    context.see(&mut seen)?;
    Ok(seen.into_prints())
}
