//! Metrics and running statistics of all ranks.

use candle_core::{DType, Device, Tensor};

use crate::checkpoint::{from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::model::{Freezable, inspect};
use crate::parallel::{Numbers, fingerprint};
use crate::train::Training;

/// Metrics that count what each rank does, and are added up.
const COUNTS: &str = "activation_cache/";

impl<M: Freezable> Training<M> {
    /// The means of metrics over the ranks.
    pub(in crate::train) fn metrics_of_all(
        &self,
        own: Result<Vec<(String, f64)>>,
    ) -> Result<Vec<(String, f64)>> {
        let Some(group) = self.group() else { return own };
        let own = own.and_then(|own| to_bytes(&own).map_err(Error::training));
        let all = group.gather("the metrics at the end of an epoch", own)?;
        let read = |bytes: &Vec<u8>| from_bytes(bytes).map_err(Error::training);
        let all: Vec<Vec<(String, f64)>> = all.iter().map(read).collect::<Result<_>>()?;
        let mut means = all[0].clone();
        for (rank, metrics) in all.iter().enumerate().skip(1) {
            let names = |metrics: &[(String, f64)]| {
                crate::error::listed(metrics.iter().map(|(name, _)| name.as_str()))
            };
            if !metrics.iter().map(|(name, _)| name).eq(means.iter().map(|(name, _)| name)) {
                let (ours, theirs) = (names(&means), names(metrics));
                return Err(Error::rank(
                    rank,
                    format!(
                        "its metrics are {theirs}, those of rank 0 are {ours}; hand the same to `epoch_end` on \
                         every rank"
                    ),
                ));
            }
        }
        for (place, (name, value)) in means.iter_mut().enumerate() {
            let each = || all.iter().map(|metrics| metrics[place].1);
            let first = value.to_bits();
            *value = match name.starts_with(COUNTS) {
                true => each().sum(),
                // Of three times 0.7 the third is not 0.7.
                false if each().all(|value| value.to_bits() == first) => *value,
                false => each().sum::<f64>() / all.len() as f64,
            };
        }
        Ok(means)
    }

    /// Averages the running statistics over the ranks, if they differ.
    pub(super) fn average_statistics(&self) -> Result<()> {
        let Some(group) = self.group() else { return Ok(()) };
        let whole = self.freezer.whole();
        let statistics = inspect::statistics(&|mapper| whole.visit_params(mapper))?;
        if statistics.is_empty() {
            return Ok(());
        }
        let mut numbers: Vec<f64> = Vec::new();
        for (_, var) in &statistics {
            let var = var.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            numbers.extend(var.flatten_all()?.to_vec1::<f64>()?);
        }
        let own: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let (_, told) = self.agree("the running statistics", [fingerprint(&own), 0], Ok(()))?;
        if told.iter().all(|own| *own == told[0]) {
            return Ok(());
        }
        group.sum("running statistics", Numbers::F64(&mut numbers))?;
        let size = group.size() as f64;
        numbers.iter_mut().for_each(|number| *number /= size);
        let mut numbers = &numbers[..];
        for (_, var) in &statistics {
            let (own, rest) = numbers.split_at(var.elem_count());
            numbers = rest;
            let mean = Tensor::from_slice(own, var.shape(), &Device::Cpu)?.to_dtype(var.dtype())?;
            var.set(&mean.to_device(var.device())?)?;
        }
        Ok(())
    }
}
