//! One update by all optimizers together.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::driven::as_plan;
use super::training::Training;
use crate::optim::{
    GradClip, check_number, clip_grad_norm, clip_grad_value, grad_norm, kernel, reached_nothing,
};
use crate::{Error, Freezable, LeafState, Result};

/// What came of an update.
pub(super) enum Update {
    Done {
        /// Whether there was anything to update: not where all is frozen.
        reached: bool,
        /// Of all gradients together, before clipping by norm.
        grad_norm: Option<f64>,
    },
    /// Gradients are infinite or NaN; nothing was updated.
    Unfit { names: String },
}

impl<M: Freezable> Training<M> {
    /// Checks that the run can begin, and tells the optimizers the plan.
    pub(super) fn ready(&mut self) -> Result<()> {
        if self.clock.length.epochs == 0 {
            let why = "its length is not known; say `length(epochs, batches)`";
            return Err(Error::training(why));
        }
        if self.optimizers.is_empty() {
            return Err(Error::training("it has no optimizer; give it one by `optimizer`"));
        }
        let plan = self.freezer.plan().clone();
        self.freezer.refine(&plan, &mut as_plan(&mut self.optimizers))?;
        self.clip_within = match &mut self.optimizers[..] {
            [only] if self.clip != GradClip::None => only.as_plan().clip_within_step(self.clip)?,
            _ => false,
        };
        self.planned();
        Ok(())
    }

    /// Takes note of what the plan trains.
    pub(super) fn planned(&mut self) {
        let mut vars = self.freezer.planned_vars();
        self.sums.follow(&vars);
        vars.retain(|var| var.state != LeafState::Frozen);
        self.trained = vars.into_iter().map(|var| (var.name, var.var)).collect();
    }

    /// Refuses gradients that move nothing, unless all is frozen.
    pub(super) fn check_reached(&self, grads: &GradStore) -> Result<()> {
        if self.trained.iter().any(|(_, var)| grads.get(var).is_some()) {
            return Ok(());
        }
        let owned = self.optimizers.iter().map(|driven| driven.owned_ids().len()).sum();
        reached_nothing(owned, self.trained.len())
    }

    /// Clips and updates. Gradients are looked at before anything moves.
    pub(super) fn update(&mut self, grads: &mut GradStore) -> Result<Update> {
        self.check_reached(grads)?;
        let reached: Vec<_> =
            self.trained.iter().filter(|(_, var)| grads.get(var).is_some()).collect();
        let found: Vec<&Tensor> = reached.iter().filter_map(|(_, var)| grads.get(var)).collect();
        if !kernel::all_finite(&found)? {
            let unfit = |var: &Tensor| match grads.get(var) {
                Some(grad) => kernel::all_finite(&[grad]).is_ok_and(|fit| !fit),
                None => false,
            };
            let names = reached.iter().filter(|(_, var)| unfit(var)).map(|(name, _)| name.as_str());
            return Ok(Update::Unfit { names: crate::error::listed(names) });
        }
        let vars: Vec<_> = reached.iter().map(|(_, var)| var.clone()).collect();
        let norm = match self.clip {
            GradClip::Norm(_) if self.clip_within => Some(grad_norm(grads, &vars)?),
            GradClip::Norm(max) => Some(clip_grad_norm(grads, &vars, max)?),
            GradClip::Value(max) if !self.clip_within => {
                clip_grad_value(grads, &vars, max)?;
                None
            }
            _ => None,
        };
        let share = self.rate.as_ref().map(|rate| rate(self.clock.middle_of_step()));
        if let Some(share) = share {
            check_number("rate", share, 0.0.., "a finite number of at least 0")?;
            self.optimizers.iter_mut().for_each(|driven| driven.set_share(share));
        }
        for driven in &mut self.optimizers {
            if vars.iter().any(|var| driven.owned_ids().contains(&var.id())) {
                driven.update(grads)?;
            }
        }
        Ok(Update::Done { reached: !vars.is_empty(), grad_norm: norm })
    }
}
