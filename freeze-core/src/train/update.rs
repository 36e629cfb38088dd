//! One update by all optimizers together.

use std::sync::Arc;

use candle_core::Var;
use candle_core::backprop::GradStore;

use super::clipping::Clipping;
use super::clock::Length;
use super::driven::as_plan;
use super::stop::OnNonFinite;
use super::training::Training;
use crate::error::{Error, Result, check_number};
use crate::model::Freezable;
use crate::nn::Buffers;
use crate::optim::{GradClip, reached_nothing};
use crate::plan::LeafState;
use crate::train::hook::Observed;

/// The result of an update.
pub(super) enum Update {
    Done {
        /// Whether any parameter was updated: not if everything is frozen.
        reached: bool,
        /// The norm of all gradients together, before clipping by norm.
        grad_norm: Option<f64>,
    },
    /// Gradients are infinite or NaN; nothing was updated.
    Unfit { names: String },
}

impl<M: Freezable> Training<M> {
    /// Checks that the run can begin, and applies the plan to the optimizers.
    pub(super) fn ready(&mut self) -> Result<()> {
        if self.clock.length.epochs == 0 {
            let why = "its length is not known; say `length(epochs, batches)`";
            return Err(Error::training(why));
        }
        if self.optimizers.is_empty() {
            return Err(Error::training("it has no optimizer; give it one by `optimizer`"));
        }
        let Length { accumulate, turns, .. } = self.clock.length;
        if accumulate > 1 && turns > 1 && self.on_non_finite == OnNonFinite::Skip {
            let why = "of accumulated `turns` one loss that `OnNonFinite::Skip` leaves out would change the shares of \
                       the others; leave out one of `accumulate`, `turns` and `Skip`";
            return Err(Error::training(why));
        }
        let plan = self.freezer.plan().clone();
        self.freezer.refine(&plan, &mut as_plan(&mut self.optimizers))?;
        self.clip_outside()?;
        // Where ranks share the state, an optimizer sees a part of the gradients.
        let shards = self.shards_state();
        self.clip_within = match &mut self.optimizers[..] {
            [only] if self.clip != GradClip::None && !shards => {
                only.as_plan().clip_within_step(self.clip)?
            }
            _ => false,
        };
        self.planned();
        self.check_in_backward()
    }

    /// Ends what an optimizer clips for the run by itself.
    pub(super) fn clip_outside(&mut self) -> Result<()> {
        if std::mem::take(&mut self.clip_within)
            && let Some(first) = self.optimizers.first_mut()
        {
            first.as_plan().clip_within_step(GradClip::None)?;
        }
        Ok(())
    }

    /// Updates the lists of trained and frozen variables.
    pub(super) fn planned(&mut self) {
        let mut vars = self.freezer.planned_vars();
        (self.told, self.weighed) = (false, false);
        self.sums.follow(&vars);
        self.buffers.clear();
        let frozen = vars.extract_if(.., |var| var.state == LeafState::Frozen);
        self.frozen = frozen.map(|var| var.var).collect();
        self.trained = vars.into_iter().map(|var| (var.name, var.var)).collect();
        self.note_plan();
    }

    /// An error if no trained parameter has a gradient, unless everything is frozen.
    pub(super) fn check_reached(&self, grads: &GradStore) -> Result<()> {
        if self.trained.iter().any(|(_, var)| grads.get(var).is_some()) {
            return Ok(());
        }
        let owned = self.optimizers.iter().map(|driven| driven.owned_ids().len()).sum();
        // All that a turn's loss depends on may be frozen.
        if self.clock.length.turns > 1 && self.trained.len() < owned {
            return Ok(());
        }
        reached_nothing(owned, self.trained.len())
    }

    /// Clips and updates. Gradients are checked before anything changes.
    pub(super) fn update(&mut self, grads: &mut GradStore) -> Result<(Update, Option<Observed>)> {
        self.check_reached(grads)?;
        // Of a penalty on all weights; not every optimizer knows the plan.
        self.frozen.iter().for_each(|var| drop(grads.remove(var)));
        let reached = self.trained.iter().filter(|(_, var)| grads.get(var).is_some());
        let (names, vars): (Vec<Arc<str>>, Vec<Var>) = reached.cloned().unzip();
        let grad_norm = match self.clipping().clip(&names, &vars, grads)? {
            Ok(norm) => norm,
            Err(names) => return Ok((Update::Unfit { names }, None)),
        };
        self.set_rates()?;
        let observed = self.before_update(grads)?;
        self.update_reached(&vars, grads)?;
        Ok((Update::Done { reached: !vars.is_empty(), grad_norm }, observed))
    }

    /// Buffers for the gradients of a step, if no gradient of an earlier one is kept anywhere.
    pub(super) fn free_buffers(&self) -> Option<Buffers> {
        let reused = self.optimizers.iter().all(|driven| driven.keeps_no_gradient());
        reused.then(|| {
            self.buffers.give_back_all();
            self.buffers.clone()
        })
    }

    pub(super) fn clipping(&self) -> Clipping {
        Clipping { clip: self.clip, within: self.clip_within }
    }

    /// Sets every optimizer's learning rate for the next step.
    pub(super) fn set_rates(&mut self) -> Result<()> {
        if let Some(rate) = &self.rate {
            let share = rate(self.clock.middle_of_step());
            check_number("rate", share, 0.0.., "a finite number of at least 0")?;
            self.optimizers.iter_mut().for_each(|driven| driven.set_share(share));
        }
        Ok(())
    }
}
