//! The struct `Training` and its accessors.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Var;

use super::clock::Clock;
use super::driven::Driven;
use super::generator::Generators;
use super::metrics::{Lasting, Lost};
use super::parallel::ranks::Ranks;
use super::report::{Progress, Spent};
use super::seen::{Graphs, InBackward};
use super::shows::Shows;
use super::stop::{EarlyStop, OnNonFinite, Stopped};
use super::upcoming::Upcoming;
use crate::audit::Finding;
use crate::cache::{ActivationCache, CacheStats};
use crate::checkpoint::{Manager, MetricHistory};
use crate::error::Result;
use crate::model::{Freezable, Freezer, Whole};
use crate::nn::{Buffers, Graph};
use crate::optim::{GradAccumulator, GradClip};
use crate::policy::{Elapsed, Policy};
use crate::recompute::Recompute;
use crate::train::hook::{Audited, BoxedHook};

/// A training run: model, optimizers, policy and everything that belongs to them.
///
/// Built by its methods, then driven by four calls: [`next_epoch`](Self::next_epoch),
/// [`model`](Self::model) for the forward pass, [`step`](Self::step) with each batch's loss, and
/// [`epoch_end`](Self::epoch_end). An error of a call, or of the code between two calls, leaves the
/// run as it was before, unless the method says otherwise. See the [module](super) for an example.
pub struct Training<M> {
    pub(super) freezer: Freezer<M>,
    pub(super) optimizers: Vec<Driven>,
    /// The trained variables, with their full names.
    pub(super) trained: Vec<(Arc<str>, Var)>,
    pub(super) frozen: Vec<Var>,
    pub(super) policy: Option<BoxedHook>,
    pub(super) shows: Shows<M>,
    /// The record of checked steps, if there is no policy to hold it.
    pub(super) audited: Audited,
    pub(super) rate: Option<Box<dyn Fn(f64) -> f64 + Send>>,
    pub(super) clip: GradClip,
    pub(super) clip_within: bool,
    /// What becomes of the graph of a loss.
    pub(super) graph: Graph,
    /// The state of a run that updates within the backward.
    pub(super) in_backward: Option<InBackward>,
    pub(super) graphs: Graphs,
    pub(super) sums: GradAccumulator,
    /// Memory for gradients.
    pub(super) buffers: Buffers,
    pub(super) sinks: Vec<Lasting>,
    pub(super) lost: Lost,
    pub(super) watch: Option<Watch>,
    pub(super) history: MetricHistory,
    pub(super) manager: Option<Manager>,
    pub(super) early: Option<EarlyStop>,
    pub(super) on_non_finite: OnNonFinite,
    pub(super) generators: Generators,
    pub(super) cache: Option<ActivationCache>,
    /// What the cache had counted when the current epoch began.
    pub(super) cached: CacheStats,
    pub(super) upcoming: Option<Upcoming>,
    pub(super) recompute: Option<Recompute>,
    pub(super) ranks: Option<Ranks>,
    pub(super) clock: Clock,
    /// What the epoch has taken, with what came after its last loss.
    pub(super) spent: Spent,
    /// Whether it has been checked that the run can be saved, or the run was resumed.
    pub(super) begun: bool,
    /// Whether the manager came when the run had begun.
    pub(super) came_later: bool,
    /// Whether the run was resumed since it last gave an epoch.
    pub(super) came_back: bool,
    /// Whether the run was resumed.
    pub(super) resumed: bool,
    /// Whether `finish` of the sinks has been called.
    pub(super) finished: bool,
    /// Whether the sinks know the plan.
    pub(super) told: bool,
    /// The leaves that plans by hand changed, until the sinks know.
    pub(super) set_by_hand: Vec<String>,
    /// What was found in checked steps of the epoch, and told where the policy acted.
    pub(super) found: Vec<Finding>,
    /// Whether the bytes that a batch's graph holds under the plan were taken.
    pub(super) weighed: bool,
    /// Up to when the time of the epoch is counted.
    pub(super) counted: Instant,
}

/// A function that is called after every batch.
pub(super) type Watch = Box<dyn FnMut(&Progress) + Send>;

impl<M: Freezable> Training<M> {
    /// The model under the current plan, for the forward pass whose loss [`step`](Self::step)
    /// takes.
    pub fn model(&self) -> &M {
        &self.freezer
    }

    /// As [`model`](Self::model), for a forward that takes `&mut self`: see
    /// [`Freezer::view_mut`].
    pub fn model_mut(&mut self) -> &mut M {
        self.freezer.view_mut()
    }

    /// Runs `f` on the whole model with every parameter detached: no graph is recorded, and plan
    /// and optimizers are not affected. Dropout and batch norm follow the caller, for instance
    /// `forward_t(xs, false)`.
    ///
    /// # Errors
    ///
    /// Those of `f`, or a layer that cannot be rebuilt.
    pub fn evaluate<T>(&self, f: impl FnOnce(&M) -> candle_core::Result<T>) -> Result<T> {
        Ok(f(&*self.freezer.frozen_view()?)?)
    }

    /// The freezer: plan, summary, names.
    pub fn freezer(&self) -> &Freezer<M> {
        &self.freezer
    }

    /// The progress in completed epochs and optimizer steps.
    pub fn elapsed(&self) -> Elapsed {
        self.clock.elapsed()
    }

    /// Every metric recorded so far, including those before a resume.
    pub fn history(&self) -> &MetricHistory {
        &self.history
    }

    /// Why the run was stopped, if it was stopped early.
    pub fn stopped(&self) -> Option<Stopped> {
        self.clock.stopped
    }

    /// How many losses and updates were skipped under [`OnNonFinite::Skip`], over the whole run.
    pub fn left_out(&self) -> u64 {
        self.clock.left_out
    }

    /// The time that the epoch has taken so far.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// The optimizer that was added as number `index`, counted from 0, if it is an `O`.
    pub fn optimizer_as<O: 'static>(&self, index: usize) -> Option<&O> {
        self.optimizers.get(index)?.as_any().downcast_ref()
    }

    /// As [`optimizer_as`](Self::optimizer_as), to change its settings. With a
    /// [`rate`](Self::rate), each step sets the learning rate again, from the one that the
    /// optimizer was built with.
    pub fn optimizer_as_mut<O: 'static>(&mut self, index: usize) -> Option<&mut O> {
        self.optimizers.get_mut(index)?.as_any_mut().downcast_mut()
    }

    /// Returns the whole model.
    pub fn into_model(self) -> M {
        self.freezer.into_whole()
    }
}

impl<M: Freezable> Whole for Training<M> {
    type Model = M;

    fn whole_model(&self) -> &M {
        self.freezer().whole()
    }
}

impl<M: Freezable> fmt::Debug for Training<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Training")
            .field("model", &std::any::type_name::<M>())
            .field("plan", self.freezer.plan())
            .field("optimizers", &self.optimizers)
            .field("policy", &self.policy.as_ref().map(|hook| hook.policy().describe()))
            .field("clock", &self.clock)
            .field("clip", &self.clip)
            .field("manager", &self.manager)
            .finish_non_exhaustive()
    }
}
