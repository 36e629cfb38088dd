//! What PyTorch computed with a small model: `tests/data/models`, written by `tests/models/record`.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use freeze_core::{Freezable, backward};

/// How far forward, loss and gradients may be from PyTorch's, in units of the largest element, or of 1.
const TOLERANCE: f64 = 1e-4;

pub(crate) struct Case {
    /// The configuration, as `config.json` has it.
    pub(crate) config: String,
    tensors: HashMap<String, Tensor>,
}

impl Case {
    pub(crate) fn open(name: &str) -> Self {
        let path = format!("{}/tests/data/models/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).expect("the recording");
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
        let config = header.metadata().as_ref().expect("metadata")["config"].clone();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).expect("tensors");
        Self { config, tensors }
    }

    /// The weights under their public names, as a file of them is read.
    pub(crate) fn weights(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.part("weight/"), DType::F32, &Device::Cpu)
    }

    pub(crate) fn input(&self, name: &str) -> Tensor {
        self.tensors[&format!("input/{name}")].clone()
    }

    pub(crate) fn output(&self, name: &str) -> &Tensor {
        &self.tensors[&format!("output/{name}")]
    }

    /// `loss` and its gradient for every parameter are PyTorch's; no parameter is left out on either side.
    #[track_caller]
    pub(crate) fn assert_loss<M: Freezable>(&self, model: &M, loss: &Tensor) {
        assert_close(loss, &self.tensors["loss"], "loss");
        let grads = backward(loss).expect("gradients");
        let mut expected = self.part("grad/");
        for (name, var) in model.named_vars().expect("variables") {
            let found = grads.get(&var).unwrap_or_else(|| panic!("no gradient of {name}"));
            let theirs = expected.remove(&name).unwrap_or_else(|| panic!("PyTorch has no {name}"));
            assert_close(found, &theirs, &name);
        }
        assert!(expected.is_empty(), "not in the model: {:?}", expected.keys());
    }

    fn part(&self, prefix: &str) -> HashMap<String, Tensor> {
        let named = self.tensors.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(prefix)?.to_string(), tensor.clone()))
        });
        named.collect()
    }
}

/// Equal shapes, and elements within 1e-4.
#[track_caller]
pub(crate) fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_within(found, expected, TOLERANCE, what);
}

/// Equal shapes, and elements within `tolerance`.
#[track_caller]
pub(crate) fn assert_within(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (numbers(found), numbers(expected));
    let scale = expected.iter().fold(1f64, |scale, value| scale.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = (found - expected).abs() / scale;
        assert!(off <= tolerance, "{what}[{i}]: found {found}, expected {expected}, off {off:e}");
    }
}

/// The elements.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.to_dtype(DType::F64).and_then(|wide| wide.flatten_all());
    wide.and_then(|flat| flat.to_vec1()).expect("numbers")
}
