//! The sums by name, for a checkpoint.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::GradAccumulator;
use super::sum::{SavedSum, Sum};
use crate::error::{Error, Result};
use crate::kernel::real_dtype;
use crate::plan::{PlannedVar, Prepared, by_id};

impl GradAccumulator {
    /// The sum of each variable that has one, by the names in `vars`.
    ///
    /// # Errors
    ///
    /// `vars` lacks one of them.
    pub(crate) fn sums(&self, vars: &[PlannedVar]) -> Result<BTreeMap<String, SavedSum>> {
        let names = by_id(vars);
        let mut sums = BTreeMap::new();
        for (place, gathered) in self.gathered.iter().enumerate() {
            let Some(sum) = gathered.sum.saved() else { continue };
            let name = names.get(&gathered.var.id()).map(|var| var.name.to_string());
            let name = name.ok_or_else(|| Error::Unsaved {
                what: format!("what was gathered for variable {place}"),
                why: "the variable is not the model's; gather it in another accumulator".into(),
            })?;
            sums.insert(name, sum);
        }
        Ok(sums)
    }

    /// Prepares to follow the plan and to continue with the saved sums.
    ///
    /// # Errors
    ///
    /// A sum belongs to no variable, or has another shape or type; all such are listed.
    pub(crate) fn prepare_sums<'a>(
        &'a mut self,
        vars: &'a [PlannedVar],
        mut saved: BTreeMap<String, SavedSum>,
    ) -> Result<Prepared<'a, ()>, String> {
        let names = by_id(vars);
        let (mut sums, mut faults) = (Vec::with_capacity(self.gathered.len()), Vec::new());
        for gathered in &self.gathered {
            let name = names.get(&gathered.var.id()).map(|var| &*var.name);
            let found = name.and_then(|name| saved.remove(name));
            let (dims, acc) = (gathered.var.dims(), real_dtype(gathered.var.dtype()));
            let tensor = found.as_ref().and_then(|sum| sum.tensor.as_ref());
            let differs = |tensor: &&Tensor| tensor.dims() != dims || Some(tensor.dtype()) != acc;
            if let (Some(name), Some(sum)) = (name, tensor.filter(differs)) {
                let (theirs, ours) = ((sum.dims(), sum.dtype()), (dims, acc));
                faults.push(format!("`{name}` is {theirs:?}, expected {ours:?}"));
            }
            match found.map(|sum| Sum::of(sum, gathered.var.device())).transpose() {
                Ok(sum) => sums.push(sum.unwrap_or_default()),
                Err(error) => faults.push(error.to_string()),
            }
        }
        faults.extend(saved.keys().map(|name| format!("`{name}` is none of its variables")));
        if !faults.is_empty() {
            return Err(faults.join(", "));
        }
        Ok(Prepared::new(move || {
            self.follow(vars);
            self.gathered.iter_mut().zip(sums).for_each(|(gathered, sum)| gathered.sum = sum);
        }))
    }
}
