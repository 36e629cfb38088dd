//! Observes the steps of a run for its policy.

mod held;
mod numbers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId, Var};

use super::{Elapsed, Needs, Observation, Seen};
use crate::error::{Error, Result};
use crate::kernel::reduce::all_finite;
use crate::model::{Freezable, Freezer, Revision};
use crate::plan::{FreezePlan, Measured, Measures, PlanOptimizer, PlannedVar};
pub(crate) use held::Held;

/// What is kept between steps, and which variables train.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    held: Held,
    trained: Option<(Revision, Vec<Trained>)>,
    /// What the optimizers were last asked to measure.
    asked: Measures,
}

/// A variable that trains.
#[derive(Clone, Debug)]
struct Trained {
    /// The full name, by which things are kept; the first one of a tied variable.
    name: Arc<str>,
    var: Var,
    /// The leaves that hold it and train, each with its name there.
    places: Vec<(usize, Arc<str>)>,
}

impl Trained {
    fn new(var: PlannedVar, leaves: &HashMap<&str, usize>, plan: &FreezePlan) -> Self {
        let mut places: Vec<(usize, Arc<str>)> = Vec::new();
        for (name, leaf) in var.names() {
            let trains = |leaf: &usize| plan.state(*leaf).is_some_and(|state| !state.is_frozen());
            let leaf = leaves.get(leaf).copied().filter(trains);
            if let Some(leaf) = leaf.filter(|leaf| places.iter().all(|(known, _)| known != leaf)) {
                places.push((leaf, name.into()));
            }
        }
        Self { name: var.name, var: var.var, places }
    }

    /// Nothing yet of this variable.
    fn unseen(&self) -> Seen {
        let (leaf, name) = self.places.first().cloned().unwrap_or((0, self.name.clone()));
        Seen::new(leaf, name, self.var.elem_count())
    }
}

/// Shows of each variable what was seen, once for each leaf that holds it, in the order of the leaves.
fn show(observation: Observation, seen: Vec<(Trained, Seen)>) -> Observation {
    let each = seen.into_iter().flat_map(|(trained, seen)| {
        let of = move |(leaf, name)| seen.clone().of_leaf(leaf, name);
        trained.places.into_iter().map(of)
    });
    let mut tensors: Vec<Seen> = each.collect();
    tensors.sort_by_key(Seen::leaf);
    tensors.into_iter().fold(observation, Observation::tensor)
}

/// A step that is being observed, before its update.
#[derive(Debug)]
pub(crate) struct Look {
    needs: Needs,
    seen: Vec<Before>,
}

impl Look {
    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether there is something of a variable to show.
    pub(crate) fn has_seen(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Leaves out the variables that an update within the backward did not reach.
    pub(crate) fn keep_reached(&mut self, reached: &HashSet<TensorId>) {
        self.seen.retain(|before| reached.contains(&before.trained.var.id()));
    }
}

/// What is known of a variable before its update.
#[derive(Debug)]
struct Before {
    trained: Trained,
    seen: Seen,
    /// The weight, if no optimizer measures it and it has to be compared.
    weight: Option<Tensor>,
    /// Whether an optimizer measures it.
    measured: bool,
    /// Whether the step has a gradient of it, so that it is updated.
    reached: bool,
}

impl Observer {
    /// Whether nothing that is kept for later steps would be infinite or NaN by these gradients.
    ///
    /// # Errors
    ///
    /// A device failed.
    pub(crate) fn can_keep<M: Freezable>(
        &mut self,
        needs: Needs,
        freezer: &Freezer<M>,
        grads: &GradStore,
    ) -> Result<bool> {
        if !needs.keeps_gradients() {
            return Ok(true);
        }
        let trained = self.trained(freezer);
        let grads: Vec<&Tensor> =
            trained.iter().filter_map(|trained| grads.get(&trained.var)).collect();
        Ok(all_finite(&grads)?)
    }

    /// Looks at the gradients of a step before its update; `None` if nothing is needed.
    ///
    /// # Errors
    ///
    /// A device failed.
    pub(crate) fn before<M: Freezable>(
        &mut self,
        needs: Needs,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        grads: &GradStore,
    ) -> Result<Option<Look>> {
        let within = self.ask(needs.measures(), optimizers);
        if !needs.contains(Needs::LOSS_DROP) {
            self.held.forget_drops();
        }
        if needs.is_empty() {
            return Ok(None);
        }
        let mut seen = Vec::new();
        for trained in self.trained(freezer) {
            let Some(grad) = grads.get(&trained.var) else {
                seen.extend(self.held.unreached(needs, trained)?);
                continue;
            };
            let measured = within.contains(&trained.var.id());
            let before = self.held.look(needs, trained, grad, measured)?;
            seen.push(before);
        }
        Ok(Some(Look { needs, seen }))
    }

    /// As [`before`](Self::before) for a step that updates within its backward, where a policy sees what
    /// the optimizers measure and nothing of gradients besides.
    ///
    /// # Errors
    ///
    /// The policy needs more, or an optimizer does not measure.
    pub(crate) fn before_in_backward<M: Freezable>(
        &mut self,
        needs: Needs,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<Option<Look>> {
        let within = self.ask(needs.measures(), optimizers);
        if needs.is_empty() {
            return Ok(None);
        }
        let trained = self.trained(freezer);
        let outside = |trained: &Trained| !within.contains(&trained.var.id());
        let measured = needs.measures().is_empty() || !trained.iter().any(outside);
        if !Needs::IN_BACKWARD.contains(needs) || !measured {
            let why = "the policy needs gradients of the whole step, which updates within the backward \
                       free at once; leave out `update_in_backward`, or use optimizers of \
                       `freeze_core::optim` on the CPU";
            return Err(Error::training(why));
        }
        let seen = trained.into_iter().map(|trained| {
            let seen = trained.unseen();
            Before { trained, seen, weight: None, measured: true, reached: true }
        });
        Ok(Some(Look { needs, seen: seen.collect() }))
    }

    /// Completes what was seen of a step after its update.
    ///
    /// # Errors
    ///
    /// A device failed.
    pub(crate) fn after(
        &mut self,
        look: Look,
        optimizers: &mut [&mut dyn PlanOptimizer],
        loss: f64,
        at: Elapsed,
    ) -> Result<Observation> {
        let measured = optimizers.iter_mut().flat_map(|optimizer| optimizer.take_measured());
        let measured: HashMap<TensorId, Measured> = measured.collect();
        let mut all = Vec::with_capacity(look.seen.len());
        for Before { trained, seen, weight, measured: within, reached } in look.seen {
            if !reached {
                all.push((trained, seen));
                continue;
            }
            let mut seen = match (within, measured.get(&trained.var.id())) {
                (true, Some(measured)) => seen.measured(measured),
                // It had no gradient, or nothing is measured.
                (true, None) if !look.needs.measures().is_empty() => continue,
                _ => numbers::after_update(seen, look.needs, &trained.var, weight.as_ref())?,
            };
            if look.needs.contains(Needs::WEIGHT_CHANGE) {
                seen = self.held.weight_change(seen, &trained)?;
            }
            if look.needs.contains(Needs::TENSORS) {
                seen = seen.var(trained.var.clone());
            }
            all.push((trained, seen));
        }
        Ok(show(Observation::after_step(at, loss), all))
    }

    /// What can be seen before the first step.
    pub(crate) fn at_start<M: Freezable>(
        &mut self,
        needs: Needs,
        freezer: &Freezer<M>,
        at: Elapsed,
    ) -> Observation {
        let observation = Observation::at_start(at);
        if !needs.contains(Needs::TENSORS) {
            return observation;
        }
        let seen = self.trained(freezer).into_iter().map(|trained| {
            let seen = trained.unseen().var(trained.var.clone());
            (trained, seen)
        });
        show(observation, seen.collect())
    }

    /// Asks the optimizers to measure; returns the variables of those that do.
    fn ask(
        &mut self,
        measures: Measures,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> HashSet<TensorId> {
        if measures.is_empty() && self.asked.is_empty() {
            return HashSet::new();
        }
        self.asked = measures;
        let mut within = HashSet::new();
        for optimizer in optimizers {
            if optimizer.measure_within_step(measures) && !measures.is_empty() {
                within.extend(optimizer.owned());
            }
        }
        within
    }

    /// The variables that train, in the order of the first leaves that hold them.
    fn trained<M: Freezable>(&mut self, freezer: &Freezer<M>) -> Vec<Trained> {
        if let Some((revision, trained)) = &self.trained
            && *revision == freezer.revision
        {
            return trained.clone();
        }
        let paths = freezer.plan().paths().iter().enumerate();
        let leaves: HashMap<&str, usize> =
            paths.map(|(leaf, path)| (path.as_str(), leaf)).collect();
        let vars = freezer.planned_vars().into_iter().filter(|var| !var.state.is_frozen());
        let trained: Vec<Trained> =
            vars.map(|var| Trained::new(var, &leaves, freezer.plan())).collect();
        self.held.keep_only(trained.iter().map(|trained| &*trained.name));
        self.trained = Some((freezer.revision, trained.clone()));
        trained
    }

    /// What is kept between steps, as bytes.
    pub(crate) fn save(&self) -> Result<Vec<u8>> {
        self.held.save()
    }

    /// Takes over what was [saved](Self::save).
    pub(crate) fn load(&mut self, held: Held) {
        self.held = held;
    }
}
