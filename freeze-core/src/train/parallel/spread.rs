//! The state of rank 0, for all.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::checkpoint::{Resumed, checksum_of};
use crate::error::{Result, file_error};
use crate::model::{DropoutState, Freezable, Generator, inspect};
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

    /// Has the dropouts of each rank draw other numbers, by what rank 0 saved: from where the rank was, if there were as
    /// many.
    fn draw_apart(&self) -> Result<()> {
        let Some(group) = self.group() else { return Ok(()) };
        let drawn = &self.clock.drawn;
        let own = drawn.get(group.rank()).filter(|_| drawn.len() == group.size());
        for (at, generator) in self.dropouts()?.into_iter().enumerate() {
            let DropoutState { seed, position } = generator.state();
            let position = own.and_then(|own| own.get(at).copied()).unwrap_or(position);
            // An odd number: the seeds of no two ranks are the same.
            let seed = seed.wrapping_add((group.rank() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            generator.set_state(DropoutState { seed, position });
        }
        Ok(())
    }

    /// Takes down how far each rank has drawn, for a checkpoint.
    pub(super) fn gather_drawn(&mut self) -> Result<()> {
        let Some(group) = self.group().cloned() else { return Ok(()) };
        let positions = |generators: Vec<Generator>| -> Vec<u8> {
            generators.iter().flat_map(|one| one.state().position.to_le_bytes()).collect()
        };
        let own = self.dropouts().map(positions);
        let all = group.gather("how far dropouts have drawn", own)?;
        let read = |bytes: &Vec<u8>| {
            bytes.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect()
        };
        self.clock.drawn = all.iter().map(read).collect();
        Ok(())
    }

    /// What the model draws from, each once.
    fn dropouts(&self) -> Result<Vec<Generator>> {
        let whole = self.freezer.whole();
        let once = inspect::generators_once(&|mapper| whole.visit_params(mapper))?;
        Ok(once.into_iter().map(|(_, generator)| generator).collect())
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
