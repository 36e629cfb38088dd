//! The state of rank 0, for all.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::checkpoint::{Resumed, checksum_of};
use crate::error::{Result, file_error};
use crate::model::{DropoutState, Freezable, inspect};
use crate::parallel::{Call, Words};
use crate::train::Training;

impl<M: Freezable> Training<M> {
    /// Has every rank go on from the state of rank 0, as if it resumed a checkpoint that rank 0 saves now. Returns
    /// what it resumed; nothing on rank 0.
    pub(super) fn take_state_of_first(&mut self) -> Result<Option<Resumed>> {
        let Some(group) = self.group().cloned() else { return Ok(None) };
        let bytes = group.spread("the state of rank 0", || {
            let (_folder, path) = place()?;
            self.parts().save(&path)?;
            fs::read(&path).map_err(|source| file_error(&path, "read", source))
        })?;
        let taken = if group.leads() { Ok(None) } else { self.take_state(&bytes).map(Some) };
        let call = Call::plain("taking the state of rank 0", [0; 2]);
        let (taken, _) = group.agree(&call, taken)?;
        self.check_equal()?;
        self.draw_apart()?;
        self.keep_own_states()?;
        self.ranks.iter_mut().for_each(|ranks| ranks.begun = true);
        Ok(taken)
    }

    fn take_state(&mut self, bytes: &[u8]) -> Result<Resumed> {
        let (_folder, path) = place()?;
        fs::write(&path, bytes).map_err(|source| file_error(&path, "write", source))?;
        let resumed = self.parts().resume(&path)?;
        self.went_back();
        Ok(resumed)
    }

    /// An error if the model's tensors are not the same on all ranks, bit for bit.
    pub(in crate::train) fn check_equal(&self) -> Result<()> {
        let Some(group) = self.group() else { return Ok(()) };
        let tensors = self.freezer.named_tensors();
        let words = tensors.and_then(|tensors| {
            let sum =
                |(name, tensor)| Ok((format!("the checksum of `{name}`"), checksum_of(&tensor)?));
            let sums = tensors.into_iter().map(sum).collect::<Result<Vec<_>>>()?;
            Ok(sums.into_iter().map(|(name, sum)| (name, format!("{sum:032x}"))).collect::<Words>())
        });
        group.compare("comparing the weights", words, [0; 2]).map(|_| ())
    }

    /// Has the dropouts of each rank draw other numbers, by what rank 0 saved.
    fn draw_apart(&self) -> Result<()> {
        let Some(group) = self.group() else { return Ok(()) };
        let whole = self.freezer.whole();
        for (_, generator) in inspect::generators_once(&|mapper| whole.visit_params(mapper))? {
            let DropoutState { seed, position } = generator.state();
            // An odd number: the seeds of no two ranks are the same.
            let seed = seed.wrapping_add((group.rank() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            generator.set_state(DropoutState { seed, position });
        }
        Ok(())
    }
}

/// A file in a folder of its own, which is removed when it is dropped.
fn place() -> Result<(TempDir, PathBuf)> {
    let temporary = std::env::temp_dir();
    let folder =
        tempfile::tempdir().map_err(|source| file_error(&temporary, "write to", source))?;
    let path = folder.path().join("state.safetensors");
    Ok((folder, path))
}
