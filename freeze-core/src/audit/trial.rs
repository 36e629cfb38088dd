//! Runs views of a model and restores everything that a forward changes.

use candle_core::{Tensor, Var};

use crate::error::Result;
use crate::model::inspect::{generators, statistics};
use crate::model::mapped;
use crate::model::{BatchNormPolicy, Freezable, Freezer, Generator, Leaf, Mapper, Rewind};
use crate::plan::FreezePlan;

/// A model with the values of its running statistics and its generators.
pub(crate) struct Trial<'a, M> {
    whole: &'a M,
    statistics: Saved,
    generators: Vec<(String, Generator)>,
}

impl<'a, M: Freezable> Trial<'a, M> {
    pub(crate) fn new(freezer: &'a Freezer<M>) -> Result<Self> {
        let whole = freezer.whole();
        let walk = |mapper: &mut Mapper<'_>| whole.visit_params(mapper);
        let statistics = Saved::new(statistics(&walk)?.into_iter().map(|(_, var)| var).collect())?;
        let generators = generators(&walk)?;
        Ok(Self { whole, statistics, generators })
    }

    /// Runs `run` on a new view, returns its leaves with the result, and restores statistics and
    /// generators.
    pub(crate) fn through<R>(
        &self,
        plan: &FreezePlan,
        policy: BatchNormPolicy,
        run: impl FnOnce(&mut M) -> R,
    ) -> Result<(Vec<Leaf>, R)> {
        let mut view = mapped::view(plan, policy, |mapper| self.whole.map_params(mapper))?;
        let leaves = view.leaves()?;
        let rewind = Rewind::start(self.generators.iter().map(|(_, generator)| generator));
        let result = run(&mut view);
        drop(rewind);
        self.statistics.restore()?;
        Ok((leaves, result))
    }

    /// Restores the running statistics and returns any error.
    pub(crate) fn finish(self) -> Result<()> {
        self.statistics.restore()
    }
}

/// Copies of variables' values, which are restored when it is dropped, also after a panic.
pub(crate) struct Saved(Vec<(Var, Tensor)>);

impl Saved {
    pub(crate) fn new(vars: Vec<Var>) -> Result<Self> {
        let save = |var: Var| {
            let value = var.as_detached_tensor().copy()?;
            Ok((var, value))
        };
        Ok(Self(vars.into_iter().map(save).collect::<Result<_>>()?))
    }

    /// The variables with their saved values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Var, &Tensor)> {
        self.0.iter().map(|(var, value)| (var, value))
    }

    pub(crate) fn restore(&self) -> Result<()> {
        Ok(self.0.iter().try_for_each(|(var, value)| var.set(value))?)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            tracing::error!(%error, "a variable could not be put back after a trial");
        }
    }
}
