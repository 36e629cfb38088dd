//! Updates of which each rank makes a share.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, TensorId, Var};

use super::owners::owners;
use crate::checkpoint::each_chunk;
use crate::error::{Error, Result};
use crate::kernel::bytes_of;
use crate::model::Freezable;
use crate::train::Training;

impl<M: Freezable> Training<M> {
    /// Notes which rank updates which variable, if the ranks share the optimizer state.
    ///
    /// # Errors
    ///
    /// An optimizer must step by all gradients at once.
    pub(super) fn share_state(&mut self) -> Result<()> {
        let vars = self.freezer.planned_vars();
        let Some(ranks) = self.ranks.as_mut().filter(|ranks| ranks.shards) else { return Ok(()) };
        ranks.owners = Some(owners(&vars, ranks.group.size()));
        match self.optimizers.iter().find(|driven| !driven.steps_in_parts()) {
            Some(driven) => Err(Error::training(format!(
                "`shard_optimizer_state` has no place for {} as it is set, which must step by all gradients at once; \
                 clip by `Training::clip`",
                driven.kind()
            ))),
            None => Ok(()),
        }
    }

    /// Whether each rank keeps the optimizer state of its own variables alone.
    pub(in crate::train) fn shards_state(&self) -> bool {
        self.ranks.as_ref().is_some_and(|ranks| ranks.shards)
    }

    /// Updates `vars`, all of which have a gradient: each rank its own, which it then hands to the others.
    pub(in crate::train) fn update_reached(
        &mut self,
        vars: &[Var],
        grads: &mut GradStore,
    ) -> Result<()> {
        let owners = self.ranks.as_mut().and_then(|ranks| ranks.owners.take());
        let Some(owners) = owners else {
            return self
                .optimizers
                .iter_mut()
                .try_for_each(|driven| driven.update_reached(vars, grads).map(|_| ()));
        };
        let updated = self.update_own(vars, grads, &owners);
        if let Some(ranks) = &mut self.ranks {
            ranks.owners = Some(owners);
        }
        updated
    }

    fn update_own(
        &mut self,
        vars: &[Var],
        grads: &mut GradStore,
        owners: &HashMap<TensorId, usize>,
    ) -> Result<()> {
        let Some(group) = self.group().cloned() else { return Ok(()) };
        let of = |rank: usize| vars.iter().filter(move |var| owners.get(&var.id()) == Some(&rank));
        let own: Vec<Var> = of(group.rank()).cloned().collect();
        let mut own_grads = GradStore::default();
        for var in &own {
            grads
                .remove(var)
                .into_iter()
                .for_each(|gradient| drop(own_grads.insert(var, gradient)));
        }
        let mut updated = Ok(());
        for driven in &mut self.optimizers {
            updated = updated.and_then(|()| driven.update_reached(&own, &own_grads).map(|_| ()));
        }
        let bytes = updated.and_then(|()| {
            let mut bytes = Vec::with_capacity(own.iter().map(|var| bytes_of(var)).sum());
            for var in &own {
                each_chunk(var, &mut |chunk| {
                    bytes.extend_from_slice(chunk);
                    Ok(())
                })?;
            }
            Ok(bytes)
        });
        for (rank, bytes) in group.gather("updated weights", bytes)?.iter().enumerate() {
            if rank == group.rank() {
                continue;
            }
            let mut rest = &bytes[..];
            for var in of(rank) {
                let Some((bytes, others)) = rest.split_at_checked(bytes_of(var)) else {
                    return Err(Error::rank(rank, "it handed over fewer weights than it updates"));
                };
                rest = others;
                let value = Tensor::from_raw_buffer(bytes, var.dtype(), var.dims(), &Device::Cpu)?;
                var.set(&value.to_device(var.device())?)?;
            }
        }
        Ok(())
    }
}
