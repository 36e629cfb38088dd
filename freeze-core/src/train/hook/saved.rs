//! What of the hook a checkpoint holds.

use crate::checkpoint::{Checkpoint, Registered};
use crate::model::Freezable;
use crate::plan::Prepared;
use crate::policy::{Held, Observer, Policy};
use crate::train::MetricSink;
use crate::train::hook::LayerFreezing;

/// The name under which what is kept for the policy between steps is saved.
const OBSERVER: &str = "freeze.observer";

impl<P: Policy, K: MetricSink> LayerFreezing<P, K> {
    /// Adds the policy to a checkpoint, and what the hook keeps for it between steps, such as the weights of an earlier
    /// one or a sum of gradients. [`Training`](crate::Training) does the same.
    ///
    /// ```
    /// # use candle_core::{DType, Device};
    /// # use candle_nn::{VarBuilder, VarMap, linear};
    /// # use freeze_core::{Elapsed, Freezer, LayerFreezing, checkpoint::Checkpoint};
    /// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// # let mut net = Freezer::new(linear(2, 2, vb)?)?;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("run.safetensors");
    /// let mut hook = LayerFreezing::new(0.5, 1.0)?;
    /// hook.registered_in(Checkpoint::of(&mut net)).progress(Elapsed::new(3, 10)).save(&path)?;
    /// hook.registered_in(Checkpoint::of(&mut net)).resume(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn registered_in<'a, M: Freezable>(
        &'a mut self,
        run: Checkpoint<'a, M>,
    ) -> Checkpoint<'a, M> {
        let watching = Box::new(Watching(&mut self.observer));
        run.policy(&mut self.policy).registered(OBSERVER, watching)
    }
}

/// What is kept for the policy between steps.
struct Watching<'a>(&'a mut Observer);

impl Registered for Watching<'_> {
    fn save(&self) -> std::result::Result<Vec<u8>, String> {
        self.0.save().map_err(|error| error.to_string())
    }

    fn prepare(&mut self, bytes: &[u8]) -> std::result::Result<Prepared<'_, ()>, String> {
        let held = Held::read(bytes).map_err(|error| error.to_string())?;
        Ok(Prepared::new(move || self.0.load(held)))
    }
}
