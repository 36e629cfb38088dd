//! Fingerprints of the weights and statistics of stages: of all bytes, or of a sample of them.

use candle_core::{DType, Device, Tensor, WithDType};

use super::seen::{Rows, print};
use crate::error::Result;
use crate::kernel::by_element;
use crate::kernel::slices::with;
use crate::model::Freezable;
use crate::model::inspect::visit;
use crate::model::mapper::is_at_or_below;

/// About how many elements of a tensor a glance reads.
const GLANCED: usize = 64;

/// Fingerprints of the leaves of a model, by stage.
#[derive(Debug)]
pub(super) struct Prints {
    /// One per stage, in order: of names, shapes and all bytes.
    pub(super) stages: Vec<u64>,
    /// Of the leaves outside of all stages, which any stage may use.
    pub(super) loose: u64,
    /// Every tensor with the fingerprint of a glance at it.
    glanced: Vec<(Tensor, u64)>,
}

impl Prints {
    /// Of the leaves of `model` in the stages at `paths` and in no stage, without those of the stages
    /// at `others`.
    pub(super) fn of<M: Freezable>(model: &M, paths: &[String], others: &[String]) -> Result<Self> {
        let mut found: Vec<(Option<usize>, String, Tensor)> = Vec::new();
        visit(&|mapper| model.visit_params(mapper), |at, tensor| {
            let lies_at = |stage: &String| is_at_or_below(at.path, stage);
            if !others.iter().any(lies_at) {
                found.push((paths.iter().position(lies_at), at.name(), tensor.clone()));
            }
        })?;
        let stages = paths.iter().map(|path| print(0, path.as_bytes())).collect();
        let mut this = Self { stages, loose: 0, glanced: Vec::new() };
        for (stage, name, tensor) in found {
            let place = match stage {
                Some(stage) => &mut this.stages[stage],
                None => &mut this.loose,
            };
            *place = whole(print(*place, name.as_bytes()), &tensor)?;
            let glance = glance(&tensor)?;
            this.glanced.push((tensor, glance));
        }
        Ok(this)
    }

    /// Whether a glance at each tensor finds the same elements as before.
    pub(super) fn look_the_same(&self) -> Result<bool> {
        for (tensor, before) in &self.glanced {
            if glance(tensor)? != *before {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many stages, counted from the first, have not changed.
    pub(super) fn unchanged(&self, before: &Self) -> usize {
        if self.loose != before.loose {
            return 0;
        }
        self.stages.iter().zip(&before.stages).take_while(|(now, before)| now == before).count()
    }
}

/// The fingerprint of type, shape and every byte.
fn whole(before: u64, tensor: &Tensor) -> Result<u64> {
    let form = format!("{:?}{:?}", tensor.dtype(), tensor.dims());
    let row = Rows::of(&tensor.detach().unsqueeze(0)?)?;
    Ok(row.print(0, print(before, form.as_bytes())))
}

/// The fingerprint of some elements, spread evenly; 0 for a tensor that is not on the CPU, not contiguous
/// or not of floating-point numbers.
fn glance(tensor: &Tensor) -> Result<u64> {
    let is_number = matches!(tensor.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::BF16);
    if !is_number || !tensor.is_contiguous() || !matches!(tensor.device(), Device::Cpu) {
        return Ok(0);
    }
    Ok(by_element!(tensor.dtype(), "glance", T => with(tensor, |elements: &[T]| {
        let step = (elements.len() / GLANCED).max(1);
        let mut bytes = Vec::new();
        for element in elements.iter().step_by(step).chain(elements.last()) {
            bytes.extend_from_slice(&element.to_f64().to_le_bytes());
        }
        Ok(print(0, &bytes))
    }))?)
}
