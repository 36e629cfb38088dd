//! A model's variables, the leaves that use each, and their state under a plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::{TensorId, Var};

use crate::error::Result;
use crate::model::inspect::{is_trainable, visit};
use crate::model::{Freezable, Role};
use crate::plan::{Declared, FreezePlan, LeafState, PlannedVar, Tie};

/// What a [`Freezer`](crate::Freezer) needs to know about its model, collected once.
pub(crate) struct Inventory {
    pub(crate) paths: Arc<[String]>,
    /// The attributes declared for each leaf.
    declared: Vec<Declared>,
    vars: Vec<Tracked>,
    /// For each leaf, whether it has floating-point weights and none of them is a variable.
    plain: Vec<bool>,
}

struct Tracked {
    name: Arc<str>,
    /// The path of the first leaf that holds it.
    leaf: Arc<str>,
    /// Its further names, each with the path of the leaf.
    ties: Arc<[(Arc<str>, Arc<str>)]>,
    kind: &'static str,
    var: Var,
    /// The leaves that hold the variable, in order.
    uses: Vec<usize>,
    /// Whether any of them declares it to have no weight decay.
    no_decay: bool,
}

impl Inventory {
    pub(crate) fn new<M: Freezable>(model: &M) -> Result<Self> {
        let mut vars: Vec<Tracked> = Vec::new();
        let mut known: HashMap<TensorId, usize> = HashMap::new();
        let (mut with_plain, mut with_vars) = (HashSet::new(), HashSet::new());
        let mut failed = None;
        let heads = visit(&|mapper| model.visit_params(mapper), |at, tensor| {
            if !is_trainable(at, tensor) {
                if at.role == Role::Weight && tensor.dtype().is_float() {
                    with_plain.insert(at.leaf);
                }
                return;
            }
            with_vars.insert(at.leaf);
            let slot = *known.entry(tensor.id()).or_insert(vars.len());
            if let Some(tracked) = vars.get_mut(slot) {
                tracked.uses.push(at.leaf);
                let tie = (at.name().into(), at.path.into());
                tracked.ties = tracked.ties.iter().cloned().chain([tie]).collect();
                tracked.no_decay |= at.declared.is_spared_decay();
                return;
            }
            match Var::from_tensor(tensor) {
                Ok(var) => vars.push(Tracked {
                    name: at.name().into(),
                    leaf: at.path.into(),
                    ties: Arc::default(),
                    kind: at.kind,
                    var,
                    uses: vec![at.leaf],
                    no_decay: at.declared.is_spared_decay(),
                }),
                Err(error) => failed = Some(error),
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let is_plain = |leaf| with_plain.contains(&leaf) && !with_vars.contains(&leaf);
        let plain = (0..heads.len()).map(is_plain).collect();
        let declared = heads.iter().map(|head| head.declared).collect();
        let paths = heads.into_iter().map(|head| head.path).collect();
        Ok(Self { paths, declared, vars, plain })
    }

    /// A plan with every leaf in the state that `state` returns for its declaration.
    pub(crate) fn plan(&self, state: impl Fn(&Declared) -> LeafState) -> Result<FreezePlan> {
        FreezePlan::of(self.paths.clone(), &self.declared, state)
    }

    pub(crate) fn vars(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|tracked| (&*tracked.name, &tracked.var))
    }

    /// Every variable with its state: frozen if every leaf that holds it is, otherwise trained at
    /// the rate of the last trained one.
    pub(crate) fn planned(&self, plan: &FreezePlan) -> Vec<PlannedVar> {
        let planned = |tracked: &Tracked| PlannedVar {
            name: tracked.name.clone(),
            leaf: tracked.leaf.clone(),
            ties: tracked.ties.clone(),
            kind: tracked.kind,
            var: tracked.var.clone(),
            state: tracked.state(plan),
            no_decay: tracked.no_decay,
            frozen_state: None,
            restarts: false,
        };
        self.vars.iter().map(planned).collect()
    }

    /// Marks the variables of the leaves at `restarts`, which the plan of `planned` trains.
    pub(crate) fn restart(&self, planned: &mut [PlannedVar], restarts: &[usize]) {
        for (var, tracked) in planned.iter_mut().zip(&self.vars) {
            var.restarts = tracked.uses.iter().any(|leaf| restarts.contains(leaf));
        }
    }

    /// The last leaf with variables that trains under the plan.
    pub(crate) fn last_trained(&self, plan: &FreezePlan) -> Option<usize> {
        let leaves = self.vars.iter().flat_map(|tracked| tracked.uses.iter().copied());
        let trained = |leaf: &usize| !plan.states()[*leaf].is_frozen();
        leaves.filter(trained).max()
    }

    pub(crate) fn ties(&self, plan: &FreezePlan) -> Vec<Tie> {
        let split = |tracked: &Tracked| {
            let (frozen, trained): (Vec<usize>, Vec<usize>) =
                tracked.uses.iter().partition(|&&leaf| plan.states()[leaf].is_frozen());
            let paths =
                |leaves: Vec<usize>| leaves.iter().map(|&i| self.paths[i].clone()).collect();
            (!frozen.is_empty() && !trained.is_empty()).then(|| Tie {
                name: tracked.name.to_string(),
                frozen_in: paths(frozen),
                trained_in: paths(trained),
            })
        };
        self.vars.iter().filter_map(split).collect()
    }

    /// The leaves that train under the plan although their weights are plain tensors, which no
    /// gradient step can move.
    pub(crate) fn immovable(&self, plan: &FreezePlan) -> Vec<&str> {
        let leaves = self.plain.iter().zip(plan.states()).zip(self.paths.iter());
        let stuck = leaves.filter(|((plain, state), _)| **plain && !state.is_frozen());
        stuck.map(|(_, path)| path.as_str()).collect()
    }
}

impl Tracked {
    fn state(&self, plan: &FreezePlan) -> LeafState {
        let states = self.uses.iter().map(|&leaf| plan.states()[leaf]);
        states.rev().find(|state| !state.is_frozen()).unwrap_or(LeafState::Frozen)
    }
}
