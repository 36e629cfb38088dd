//! Runs a recorded constructor again over the recorded or other tensors.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};

use crate::error::Result;

type Candle<T> = candle_core::Result<T>;

/// A constructor.
pub(super) type Build<L> = dyn Fn(VarBuilder<'static>) -> Candle<L> + Send + Sync;

/// The tensors that a constructor asked for, in order.
pub(super) struct Recording {
    pub(super) dtype: DType,
    pub(super) device: Device,
    pub(super) tensors: Vec<Named>,
    pub(super) contains: HashMap<String, bool>,
}

#[derive(Clone)]
pub(super) struct Named {
    pub(super) name: String,
    /// The element type of the first request for it.
    pub(super) asked: DType,
    pub(super) tensor: Tensor,
    pub(super) buffer: bool,
}

impl Named {
    /// The tensor as first returned, converted if another element type is asked for, so that
    /// gradients reach the same tensor.
    pub(super) fn answer(&self, dtype: DType) -> Candle<Tensor> {
        if dtype == self.asked { Ok(self.tensor.clone()) } else { self.tensor.to_dtype(dtype) }
    }
}

impl Recording {
    /// The tensors under each prefix, in the order of the first of each.
    pub(super) fn groups(&self) -> Vec<(&str, Vec<usize>)> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (index, named) in self.tensors.iter().enumerate() {
            let prefix = named.name.rsplit_once('.').map_or("", |(prefix, _)| prefix);
            let slot = *known.entry(prefix).or_insert(groups.len());
            match groups.get_mut(slot) {
                Some((_, members)) => members.push(index),
                None => groups.push((prefix, vec![index])),
            }
        }
        groups
    }

    /// The same recording with other tensors, in the same order.
    pub(super) fn with_tensors(&self, tensors: Vec<Tensor>) -> Self {
        let named = self.tensors.iter().zip(tensors);
        let tensors = named.map(|(named, tensor)| Named { tensor, ..named.clone() }).collect();
        let (device, contains) = (self.device.clone(), self.contains.clone());
        Self { dtype: self.dtype, device, tensors, contains }
    }
}

pub(super) fn replay<L>(recording: &Arc<Recording>, build: &Build<L>) -> Result<L> {
    let named = recording.tensors.iter().enumerate();
    let by_name = named.map(|(index, named)| (named.name.clone(), index)).collect();
    let backend = Box::new(Replayed { by_name, recording: recording.clone() });
    let vb = VarBuilder::from_backend(backend, recording.dtype, recording.device.clone());
    Ok(build(vb)?)
}

struct Replayed {
    /// The index in the recording of each name.
    by_name: HashMap<String, usize>,
    recording: Arc<Recording>,
}

impl SimpleBackend for Replayed {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> Candle<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            let got = tensor.shape().clone();
            let msg = format!("shape mismatch for {name}");
            return Err(candle_core::Error::UnexpectedShape { msg, expected: shape, got });
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, _: &Device) -> Candle<Tensor> {
        let index = self.by_name.get(name).ok_or_else(|| {
            candle_core::Error::Msg(format!(
                "the constructor asks for `{name}`, for which it did not ask the first time; \
                 `Rebuilt` needs one that asks for the same names every time"
            ))
        })?;
        self.recording.tensors[*index].answer(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        let asked = self.recording.contains.get(name).copied();
        asked.unwrap_or_else(|| self.by_name.contains_key(name))
    }
}
