//! Building a training run.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use candle_core::TensorId;

use super::clock::Clock;
use super::driven::{Driven, TrainOptimizer};
use super::generator::Shared;
use super::metrics::{Lasting, Lost};
use super::report::{Progress, Spent};
use super::seen::Graphs;
use super::shows::Shows;
use super::stop::{EarlyStop, OnNonFinite};
use super::training::Training;
use crate::cache::{ActivationCache, CacheStats};
use crate::checkpoint::{Manager, MetricHistory, Resumable};
use crate::error::{Error, Result};
use crate::model::{Freezable, Freezer};
use crate::nn::{Buffers, Graph};
use crate::optim::{GradAccumulator, GradClip, check_clip};
use crate::plan::{PlannedVar, matching_params};
use crate::policy::Policy;
use crate::recompute::Recompute;
use crate::train::MetricSink;
use crate::train::hook::{Audited, LayerFreezing};

impl<M: Freezable> Training<M> {
    /// A run of `model`, which starts with the plan that its type declares: see
    /// [`FreezePlan::declared`](crate::FreezePlan::declared).
    ///
    /// # Errors
    ///
    /// As [`Freezer::new`].
    pub fn new(model: M) -> Result<Self> {
        Ok(Self::of(Freezer::new(model)?))
    }

    /// A run of a model that already has a plan.
    pub fn of(freezer: Freezer<M>) -> Self {
        let sums = GradAccumulator::new(freezer.vars());
        Self {
            freezer,
            optimizers: Vec::new(),
            trained: Vec::new(),
            frozen: Vec::new(),
            policy: None,
            shows: Shows::default(),
            audited: Audited::default(),
            rate: None,
            clip: GradClip::None,
            clip_within: false,
            graph: Graph::Released,
            in_backward: None,
            graphs: Graphs::default(),
            sums,
            buffers: Buffers::default(),
            sinks: Vec::new(),
            lost: Lost::default(),
            watch: None,
            history: MetricHistory::default(),
            manager: None,
            early: None,
            on_non_finite: OnNonFinite::default(),
            generators: Vec::new(),
            cache: None,
            cached: CacheStats::default(),
            upcoming: None,
            recompute: None,
            ranks: None,
            clock: Clock::default(),
            spent: Spent::default(),
            begun: false,
            came_later: false,
            came_back: false,
            resumed: false,
            finished: false,
            told: false,
            set_by_hand: Vec::new(),
            found: Vec::new(),
            weighed: false,
            counted: Instant::now(),
        }
    }

    /// Adds an optimizer for all variables, frozen ones included, that have none yet.
    ///
    /// # Errors
    ///
    /// Those of `build`, or every variable already has an optimizer.
    pub fn optimizer<O: TrainOptimizer>(
        self,
        build: impl FnOnce(Vec<PlannedVar>) -> Result<O>,
    ) -> Result<Self> {
        self.add(None, build)
    }

    /// Adds an optimizer for the variables without one whose full name or leaf path matches
    /// `pattern`, such as `body.**` or `head`; of a tied variable one of its names.
    ///
    /// # Errors
    ///
    /// Those of `build`, the pattern cannot be read, or it matches no variable without an
    /// optimizer.
    pub fn optimizer_for<O: TrainOptimizer>(
        self,
        pattern: &str,
        build: impl FnOnce(Vec<PlannedVar>) -> Result<O>,
    ) -> Result<Self> {
        self.add(Some(pattern), build)
    }

    fn add<O: TrainOptimizer>(
        mut self,
        pattern: Option<&str>,
        build: impl FnOnce(Vec<PlannedVar>) -> Result<O>,
    ) -> Result<Self> {
        self.clip_outside()?;
        let taken: HashSet<TensorId> =
            self.optimizers.iter().flat_map(|driven| driven.owned_ids().iter().copied()).collect();
        let mut vars = self.freezer.planned_vars();
        let all = vars.len();
        vars.retain(|var| !taken.contains(&var.var.id()));
        if vars.is_empty() && all > 0 {
            let why = "every variable has an optimizer already; build those for parts first";
            return Err(Error::training(why));
        }
        if let Some(pattern) = pattern {
            let hits = matching_params(pattern, vars.iter().map(PlannedVar::names))?;
            let mut at = 0..;
            vars.retain(|_| at.next().is_some_and(|at| hits.contains(&at)));
        }
        self.optimizers.push(Driven::new(build(vars)?));
        Ok(self)
    }

    /// Sets the policy that freezes layers during training: a [`Policy`], or a [`LayerFreezing`] with
    /// settings of its own. It is asked when it is due, at the end of an epoch only once, and between
    /// steps also if the hook has [`every_steps`](LayerFreezing::every_steps). It takes the place of the one before,
    /// and within a run it begins with the next epoch, or behind the next step.
    pub fn policy<P, K>(self, policy: impl Into<LayerFreezing<P, K>>) -> Self
    where
        P: Policy + Send + 'static,
        K: MetricSink + 'static,
    {
        let policy = self.led(policy.into().boxed(&self.lost));
        let clock = Clock { asked: false, ..self.clock };
        Self { policy: Some(policy), clock, ..self }
    }

    /// Sets the share of each optimizer's own learning rate as a function of progress: see
    /// [`lr`](crate::optim::lr). For step `i` of `n` the progress is `(i + 1/2) / n`, the middle of
    /// the step.
    pub fn rate(self, share: impl Fn(f64) -> f64 + Send + 'static) -> Self {
        Self { rate: Some(Box::new(share)), ..self }
    }

    /// Clips the gradients of all trained parameters together, before each update.
    ///
    /// # Errors
    ///
    /// The bound is not a finite number above 0.
    pub fn clip(mut self, clip: GradClip) -> Result<Self> {
        check_clip(clip)?;
        self.clip_outside()?;
        Ok(Self { clip, ..self })
    }

    /// Also passes every metric to `sink`; all are kept in the [`history`](Self::history) in any
    /// case. One that is given after [`resume`](Self::resume) is told at once where the run goes on.
    pub fn metrics(mut self, sink: impl MetricSink + 'static) -> Self {
        let mut sink = Lasting::new(sink, &self.lost);
        if self.resumed {
            sink.resume(self.clock.elapsed());
        }
        self.sinks.push(sink);
        self
    }

    /// Calls `watch` after every batch, for example for a progress bar.
    pub fn watch(self, watch: impl FnMut(&Progress) + Send + 'static) -> Self {
        Self { watch: Some(Box::new(watch)), ..self }
    }

    /// Saves to the manager's folder when it is due, and once more when the run is over;
    /// [`resume`](Self::resume) reads from it.
    pub fn checkpoints(self, manager: Manager) -> Self {
        Self { manager: Some(manager), came_later: self.begun, ..self }
    }

    /// Stops the run when a metric stops improving.
    pub fn stop_early(self, early: EarlyStop) -> Self {
        Self { early: Some(early), ..self }
    }

    /// Keeps the graph of each loss, as [`backward`](crate::backward()) does, so that a step can take a loss again, or
    /// one that goes through what an earlier step computed. It takes memory for activations and gradients at a time.
    ///
    /// The weights of what is shared must not change in between: a step that goes back through a part whose weights an
    /// earlier one has moved computes the gradient of no function, from new weights and old activations. Detach what is
    /// carried on, such as a recurrent state, or freeze that part.
    pub fn retain_graph(self) -> Self {
        Self { graph: Graph::Retained, ..self }
    }

    /// Sets what to do with losses and gradients that are infinite or NaN; an error by default.
    pub fn on_non_finite(self, policy: OnNonFinite) -> Self {
        Self { on_non_finite: policy, ..self }
    }

    /// Saves a random generator of yours with the run. The model's dropouts are saved without this.
    pub fn random<R>(mut self, name: &str, generator: Arc<Mutex<R>>) -> Self
    where
        R: Resumable + Send + 'static,
        R::State: Send,
    {
        self.generators.push((name.to_string(), Box::new(Shared(generator))));
        self
    }

    /// Stores the outputs of frozen stages per sample, for [`forward`](Self::forward). Checkpoints do not
    /// hold the cache; a run that is resumed without it is the same run.
    pub fn cache(self, cache: ActivationCache) -> Self {
        Self { cached: cache.stats(), cache: Some(cache), ..self }
    }

    /// Runs stages again in the backward instead of keeping their activations, for
    /// [`forward`](Self::forward). It changes nothing but memory and time: a run may be resumed with another
    /// choice.
    pub fn recompute(self, choice: Recompute) -> Self {
        Self { recompute: Some(choice), ..self }
    }

    /// Sets the seed of the order of samples: see [`Epoch`](super::Epoch). A resumed run keeps the
    /// seed that it was saved with. An epoch that is under way keeps its order.
    pub fn seed(mut self, seed: u64) -> Self {
        match self.clock.within {
            true => self.clock.next_seed = Some(seed),
            false => self.clock.seed = seed,
        }
        self
    }
}
