//! The output of the front for a batch: read where there are records, else computed, and stored when all is there.

use std::borrow::Borrow;
use std::time::{Duration, Instant};

use super::activations::ActivationCache;
use super::context::CacheContext;
use super::rounded::Rounded;
use super::through::{Batch, through};
use super::trial::select;
use crate::error::Result;
use crate::model::{Flow, Staged};

/// The output of the front for some samples.
struct Part<F> {
    /// The samples, by index.
    which: Vec<u32>,
    /// How many stages their records have passed.
    passed: usize,
    /// How long each stage behind these took.
    times: Vec<(usize, Duration)>,
    out: Out<F>,
}

enum Out<F> {
    Read(F),
    Computed(Rounded<F>),
}

impl ActivationCache {
    /// The output of the front for the whole batch; `None` if the batch must be grouped again, since a
    /// record can no longer be read or the boundary has moved. Nothing is stored then, or if this fails.
    pub(super) fn front_of<M>(
        &mut self,
        batch: &Batch<'_, M>,
        class: usize,
    ) -> Result<Option<M::Flow>>
    where
        M: Staged<Context: CacheContext>,
    {
        let (samples, mut parts) = (&batch.samples, Vec::new());
        let groups = self.classes[class].passed(samples, self.least_read());
        let deepest = groups.keys().last().copied().unwrap_or(0);
        for (passed, which) in groups {
            let depth = self.depth();
            let Some(part) = self.part(batch, class, passed, which)? else { return Ok(None) };
            if self.depth() < depth {
                self.drop_beyond(self.depth());
                if !parts.is_empty() || deepest > self.depth() {
                    return Ok(None);
                }
            }
            parts.push(part);
        }
        parts.iter().try_for_each(|part| self.count_and_keep(batch, class, part))?;
        let order: Vec<u32> = parts.iter().flat_map(|part| &part.which).copied().collect();
        let mut flows: Vec<M::Flow> = parts.into_iter().map(|part| part.out.into_flow()).collect();
        let whole = match flows.len() {
            1 => flows.remove(0),
            _ => Flow::concatenate(&flows)?,
        };
        if samples.are_the_batch(&order) && order.is_sorted() {
            return Ok(Some(whole));
        }
        let mut place = vec![0u32; order.len()];
        (0..).zip(&order).for_each(|(at, &sample)| place[sample as usize] = at);
        let rows: Vec<u32> = samples.of_rows.iter().map(|&i| place[i as usize]).collect();
        select(&whole, &rows).map(Some)
    }

    /// The output of the front for the samples at `which`, which have passed `passed` stages; `None` if a
    /// record can no longer be read, or the boundary has moved in front of it.
    fn part<M>(
        &mut self,
        batch: &Batch<'_, M>,
        class: usize,
        passed: usize,
        which: Vec<u32>,
    ) -> Result<Option<Part<M::Flow>>>
    where
        M: Staged<Context: CacheContext>,
    {
        let (samples, count) = (&batch.samples, which.len());
        let Some(front) = &mut self.front else { return Ok(None) };
        let xs = match passed {
            0 if samples.are_the_batch(&which) => batch.xs.detached()?,
            0 => select(batch.xs, &samples.rows(&which))?,
            _ => {
                let start = Instant::now();
                let read = self.classes[class].read(passed, (samples, &which), &batch.device)?;
                self.tally.read(passed, count, start.elapsed());
                let Some(xs) = read else { return Ok(None) };
                xs
            }
        };
        let read = |out| {
            Some(Part { which: which.clone(), passed, times: Vec::new(), out: Out::Read(out) })
        };
        if passed == front.depth {
            return Ok(read(xs));
        }
        let mut ran = match samples.are_the_batch(&which) {
            true => through(front, batch, (passed, count), xs, batch.context)?,
            false => {
                let filled = samples.filled(&which);
                let context =
                    batch.context.select(&samples.rows(&filled), samples.of_rows.len())?;
                let xs = match filled.len() > count {
                    true => select(
                        &xs,
                        &(0..count as u32).cycle().take(filled.len()).collect::<Vec<_>>(),
                    )?,
                    false => xs,
                };
                through(front, batch, (passed, count), xs, context.borrow())?
            }
        };
        if ran.flow.batch()? > count {
            ran.flow = select(&ran.flow, &(0..count as u32).collect::<Vec<_>>())?;
        }
        let depth = front.depth;
        if ran.passed != depth {
            self.drop_beyond(depth);
            return Ok(None);
        }
        if passed == depth {
            return Ok(read(ran.flow));
        }
        let out = Out::Computed(Rounded::new(ran.flow, self.precision)?);
        Ok(Some(Part { which, passed, times: ran.times, out }))
    }

    fn count_and_keep<M: Staged>(
        &mut self,
        batch: &Batch<'_, M>,
        class: usize,
        Part { which, passed, times, out }: &Part<M::Flow>,
    ) -> Result<()> {
        let count = which.len();
        let Out::Computed(rounded) = out else {
            self.tally.hits += count as u64;
            return Ok(());
        };
        times.iter().for_each(|(stage, time)| self.tally.ran(*stage, count, *time));
        match passed {
            0 => self.tally.misses += count as u64,
            _ => self.tally.extended += count as u64,
        }
        self.count_unfit(rounded);
        self.keep::<M, _>(class, self.depth(), (&batch.samples, which), rounded)
    }

    fn count_unfit<F: Flow>(&mut self, rounded: &Rounded<F>) {
        let unfit = rounded.unfit() as u64;
        if unfit > 0 && self.tally.out_of_range == 0 {
            let precision = format!("{:?}", self.precision);
            tracing::warn!(
                precision,
                "activations are out of the range of the precision: their samples are not stored"
            );
        }
        self.tally.out_of_range += unfit;
    }
}

impl<F> Out<F> {
    fn into_flow(self) -> F {
        match self {
            Self::Read(flow) => flow,
            Self::Computed(rounded) => rounded.flow,
        }
    }
}
