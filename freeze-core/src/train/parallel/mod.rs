//! A run of several ranks: each computes its share of every batch, and all make the same update.

mod begin;
mod buckets;
mod courier;
mod exchange;
mod flat;
mod led;
mod metrics;
mod owners;
pub(super) mod ranks;
mod save;
mod setup;
mod sharded;
mod spread;
mod states;
mod step;

use ranks::Ranks;
pub(super) use step::Shared;

use crate::error::Result;
use crate::model::Freezable;
use crate::parallel::{Call, Group, Parallel, Traffic, fingerprint_of};
use crate::train::Training;

impl<M: Freezable> Training<M> {
    /// Shares the run with other ranks, each of which runs the same program on its share of every batch: see
    /// [`Sampler`](super::Sampler).
    ///
    /// Before the first step all ranks take the weights, optimizer state, generators and position of rank 0, as a checkpoint
    /// in a temporary file; so optimizers must be able to save their state, as those of [`optim`](crate::optim). Each step
    /// averages losses and gradients over the ranks, so that all make the same update; only gradients of what
    /// trains are sent. Rank 0 asks the policy, saves, resumes for all, and writes metrics; its decisions hold for
    /// all. The other ranks' sinks, [`watch`](Self::watch) and checkpoint managers do nothing. Metrics that are passed to
    /// [`epoch_end`](Self::epoch_end) are averaged over the ranks, and so are running statistics that layers update.
    /// Dropouts draw other numbers on each rank; random generators of your own are the same on all.
    ///
    /// An error of one rank is an error of all, by its number; so is a rank that leaves, or that differs in model,
    /// plan, settings or place.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Tensor};
    /// # use candle_nn::{Module, ParamsAdamW, VarBuilder, VarMap, linear, loss::mse};
    /// use freeze_core::optim::AdamW;
    /// use freeze_core::parallel::Threads;
    /// use freeze_core::{Result, Training};
    ///
    /// fn train(rank: Threads) -> Result<f64> {
    ///     # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    ///     # let net = linear(2, 1, vb)?;
    ///     let mut run = Training::new(net)?
    ///         .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
    ///         .parallel(rank)
    ///         .length(1, 3)?;
    ///     let mut last = f64::NAN;
    ///     while let Some(_epoch) = run.next_epoch()? {
    ///         for _ in 0..3 {
    ///             # let (x, y) = (Tensor::ones((4, 2), DType::F32, &Device::Cpu)?, Tensor::ones((4, 1), DType::F32, &Device::Cpu)?);
    ///             let loss = mse(&run.model().forward(&x)?, &y)?;
    ///             last = run.step(&loss)?.loss; // the mean over the ranks
    ///         }
    ///         run.epoch_end([])?;
    ///     }
    ///     Ok(last)
    /// }
    ///
    /// let ranks = Threads::ranks(2)?.into_iter();
    /// let ranks: Vec<_> = ranks.map(|rank| std::thread::spawn(|| train(rank))).collect();
    /// let losses: Vec<f64> =
    ///     ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<Result<_>>()?;
    /// assert_eq!(losses[0], losses[1]);
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    pub fn parallel(self, ranks: impl Into<Parallel>) -> Self {
        let met = self.ranks.as_ref().is_some_and(|ranks| ranks.led || ranks.come_late);
        Self { ranks: Some(Ranks { come_late: met, ..Ranks::new(ranks.into()) }), ..self }
    }

    /// The ranks that the run is shared by.
    pub fn group(&self) -> Option<&Group> {
        self.ranks.as_ref().map(|ranks| &ranks.group)
    }

    /// What this rank has sent since the epoch began.
    pub(super) fn traffic(&self) -> Option<Traffic> {
        self.ranks.as_ref().map(|ranks| ranks.group.traffic().since(ranks.sent))
    }

    /// Has all ranks come to the same place: an error of one is an error of all.
    fn agree<T>(
        &self,
        what: &str,
        numbers: [u64; 2],
        own: Result<T>,
    ) -> Result<(T, Vec<[u64; 2]>)> {
        let Some(ranks) = &self.ranks else { return own.map(|own| (own, vec![numbers])) };
        let (epoch, losses) = (self.clock.epoch, self.clock.losses);
        let words = || {
            let mut words =
                vec![("the place".to_string(), format!("loss {losses} of epoch {epoch}"))];
            words.extend(setup::plan_in_words(self.freezer.plan()));
            words
        };
        let place = (epoch as u64).rotate_left(32) ^ losses as u64;
        ranks.group.agree(&Call { what, same: ranks.plan ^ place, words: &words, numbers }, own)
    }

    /// As [`agree`](Self::agree), where nothing is brought.
    pub(super) fn all_can<T>(&self, what: &str, own: Result<T>) -> Result<T> {
        Ok(self.agree(what, [0; 2], own)?.0)
    }

    /// Has the other ranks hear of an error that only this one may have.
    pub(super) fn telling<T>(&self, done: Result<T>) -> Result<T> {
        if let (Err(error), Some(group)) = (&done, self.group()) {
            group.failed(error);
        }
        done
    }

    /// Notes what trains now, which must be the same on all ranks.
    pub(super) fn note_plan(&mut self) {
        if let Some(ranks) = &mut self.ranks {
            ranks.plan = fingerprint_of(&setup::plan_in_words(self.freezer.plan()));
        }
    }
}
