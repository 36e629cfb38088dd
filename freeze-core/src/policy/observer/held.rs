//! What is kept of each variable between observed steps.

use std::collections::{BTreeMap, HashMap, HashSet};

use candle_core::{DType, Device, Tensor};

use super::numbers::{between, drop_of, gradient, norms, signal_to_noise};
use super::{Before, Trained};
use crate::error::Result;
use crate::kernel::real_dtype;
use crate::kernel::update::add_scaled;
use crate::policy::{Needs, Seen};

/// Copies of weights and gradients and sums of gradients, by full name.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<String, Kept>);

/// What is kept of one variable.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// The weight when its change was last needed.
    weight: Option<Tensor>,
    /// The weight before the last step, if that needed the drop of the loss.
    drop_from: Option<Tensor>,
    gradient: Option<Tensor>,
    sum: Option<Tensor>,
}

const WEIGHT: &str = "weight";
const DROP_FROM: &str = "drop_from";
const GRADIENT: &str = "gradient";
const SUM: &str = "sum";

impl Held {
    /// Looks at a variable before its update.
    pub(super) fn look(
        &mut self,
        needs: Needs,
        trained: Trained,
        grad: &Tensor,
        measured: bool,
    ) -> Result<Before> {
        let var = &trained.var;
        let kept = self.0.entry(trained.name.to_string()).or_default();
        let mut seen = trained.unseen();
        if needs.contains(Needs::GRADIENT) && !measured {
            seen = gradient(seen, grad)?;
        }
        if needs.contains(Needs::SIGNAL_TO_NOISE)
            && let Some(ratio) = signal_to_noise(grad)?
        {
            seen = seen.with_signal_to_noise(ratio);
        }
        if needs.contains(Needs::GRADIENT_CHANGE) {
            if let Some(last) = &kept.gradient {
                seen = seen.with_gradient_change(between(grad, &near(last, grad)?)?);
            }
            kept.gradient = Some(grad.copy()?.detach());
        }
        if needs.contains(Needs::LOSS_DROP) {
            if let Some(last) = &kept.drop_from {
                seen = seen.with_loss_drop(drop_of(grad, var, &near(last, grad)?)?);
            }
            kept.drop_from = Some(var.as_detached_tensor().copy()?);
        }
        if needs.contains(Needs::SUM_GRADIENTS) {
            kept.add(grad)?;
        }
        if needs.contains(Needs::GRADIENT_SUM)
            && let Some(sum) = kept.sum.take()
        {
            seen = seen.with_gradient_sum(norms(&sum)?);
        }
        let compared = needs.contains(Needs::UPDATE) || needs.contains(Needs::RELATIVE_UPDATE);
        let weight = match compared && !measured {
            true => Some(var.as_detached_tensor().copy()?),
            false => None,
        };
        Ok(Before { trained, seen, weight, measured, reached: true })
    }

    /// What there is to see of a variable without a gradient in this step: the sum of those it had, which ends here.
    pub(super) fn unreached(&mut self, needs: Needs, trained: Trained) -> Result<Option<Before>> {
        let sum = match needs.contains(Needs::GRADIENT_SUM) {
            true => self.0.get_mut(&*trained.name).and_then(|kept| kept.sum.take()),
            false => None,
        };
        let Some(sum) = sum else { return Ok(None) };
        let seen = trained.unseen().with_gradient_sum(norms(&sum)?);
        Ok(Some(Before { trained, seen, weight: None, measured: false, reached: false }))
    }

    /// Drops the weights that drops of the loss are compared with: they are of steps that follow each other.
    pub(super) fn forget_drops(&mut self) {
        self.0.values_mut().for_each(|kept| kept.drop_from = None);
    }

    /// Compares the weight with the one when its change was last needed.
    pub(super) fn weight_change(&mut self, seen: Seen, trained: &Trained) -> Result<Seen> {
        let kept = self.0.entry(trained.name.to_string()).or_default();
        let now = trained.var.as_detached_tensor();
        let last = kept.weight.replace(now.copy()?);
        match last {
            Some(last) => Ok(seen.with_weight_change(between(&now, &near(&last, &now)?)?)),
            None => Ok(seen),
        }
    }

    /// Drops what is kept of all other variables.
    pub(super) fn keep_only<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let names: HashSet<&str> = names.collect();
        self.0.retain(|name, _| names.contains(name.as_str()));
    }

    /// The bytes of a safetensors file.
    pub(super) fn save(&self) -> Result<Vec<u8>> {
        let parts = self.0.iter().flat_map(|(name, kept)| {
            let parts = [
                (WEIGHT, &kept.weight),
                (DROP_FROM, &kept.drop_from),
                (GRADIENT, &kept.gradient),
                (SUM, &kept.sum),
            ];
            parts
                .into_iter()
                .filter_map(move |(part, tensor)| Some((format!("{part}/{name}"), tensor.clone()?)))
        });
        let here = |(name, tensor): (String, Tensor)| {
            Ok((name, tensor.to_device(&Device::Cpu)?.contiguous()?))
        };
        let tensors: HashMap<String, Tensor> = parts.map(here).collect::<Result<_>>()?;
        Ok(safetensors::serialize(&tensors, None).map_err(candle_core::Error::wrap)?)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let mut held: BTreeMap<String, Kept> = BTreeMap::new();
        for (name, tensor) in candle_core::safetensors::load_buffer(bytes, &Device::Cpu)? {
            let Some((part, name)) = name.split_once('/') else { continue };
            let kept = held.entry(name.to_string()).or_default();
            match part {
                WEIGHT => kept.weight = Some(tensor),
                DROP_FROM => kept.drop_from = Some(tensor),
                GRADIENT => kept.gradient = Some(tensor),
                _ => kept.sum = Some(tensor),
            }
        }
        Ok(Self(held))
    }
}

impl Kept {
    fn add(&mut self, grad: &Tensor) -> Result<()> {
        let grad = grad.to_dtype(real_dtype(grad.dtype()).unwrap_or(DType::F32))?;
        match &self.sum {
            Some(sum) => {
                let sum = near(sum, &grad)?;
                add_scaled(&sum, 1.0, &grad, 1.0)?;
                self.sum = Some(sum);
            }
            None => self.sum = Some(grad.force_contiguous()?.copy()?.detach()),
        }
        Ok(())
    }
}

/// The tensor on the device of another: what was resumed is on the host at first.
fn near(tensor: &Tensor, other: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(other.device())?)
}
