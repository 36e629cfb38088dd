//! Checkpoints that rank 0 writes and reads for all.

use std::path::PathBuf;

use crate::checkpoint::{Resumed, from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::parallel::Call;
use crate::train::Training;

impl<M: Freezable> Training<M> {
    /// Has rank 0 save, if it is due, and tells all what it says.
    pub(in crate::train) fn saved_by_first(
        &mut self,
        due: impl FnOnce(&Self) -> Result<bool>,
        save: impl FnOnce(&mut Self) -> Result<Option<PathBuf>>,
    ) -> Result<Option<PathBuf>> {
        let Some(group) = self.group().cloned() else {
            self.clock.drawn.clear();
            return if due(self)? { save(self) } else { Ok(None) };
        };
        let due = group.spread("whether a checkpoint is due", || Ok(vec![u8::from(due(self)?)]))?;
        if due != [1] {
            return Ok(None);
        }
        if self.shards_state() {
            self.gather_states()?;
        }
        self.gather_drawn()?;
        let saved =
            group.spread("saving a checkpoint", || to_bytes(&save(self)?).map_err(Error::training));
        self.let_go_of_states();
        from_bytes(&saved?).map_err(Error::training)
    }

    /// Has rank 0 resume, and all others take its state.
    pub(in crate::train) fn resumed_by_first(
        &mut self,
        resume: impl FnOnce(&mut Self) -> Result<Option<Resumed>>,
    ) -> Result<Option<Resumed>> {
        let Some(group) = self.group().cloned() else { return resume(self) };
        let own = if group.leads() { resume(self) } else { Ok(None) };
        let found = u64::from(matches!(own, Ok(Some(_))));
        let (own, told) = group.agree(&Call::plain("resuming", [found, 0]), own)?;
        match told[0] {
            [0, _] => Ok(None),
            _ => Ok(own.or(self.take_state_of_first()?)),
        }
    }

    /// An error if gradients wait for an update: each rank has its own, and a checkpoint holds those of one.
    pub(in crate::train) fn check_nothing_waits(&self) -> Result<()> {
        match self.ranks.is_some() && !self.sums.is_empty() {
            true => Err(Error::training(
                "gradients of several ranks wait for an update; save a parallel run after the update",
            )),
            false => Ok(()),
        }
    }
}
