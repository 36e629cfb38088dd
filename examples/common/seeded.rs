//! Initial weights from a seed: candle's CPU generator cannot be seeded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Error, Result, Shape, Tensor, Var};
use candle_nn::init::{Init, NormalOrUniform};
use candle_nn::var_builder::{SimpleBackend, VarBuilder};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A backend for [`VarBuilder`] that draws each tensor from a generator of its own, seeded by the
/// seed and the tensor's name: neither the order of the layers nor a layer added in between changes
/// the others. What it hands out are variables; a name asked for twice gives the same one.
pub(crate) struct Seeded {
    seed: u64,
    made: Mutex<HashMap<String, Var>>,
}

impl Seeded {
    /// Weights that depend on `seed` and their names alone.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, made: Mutex::new(HashMap::new()) }
    }

    /// A builder over a fresh backend.
    pub(crate) fn builder(seed: u64, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Self::new(seed)), dtype, device.clone())
    }

    fn draw(&self, shape: &Shape, name: &str, init: Init) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(fnv1a(name));
        let count = shape.elem_count();
        let mut uniform = |low: f64, high: f64| -> Vec<f64> {
            (0..count).map(|_| low + (high - low) * rng.random::<f64>()).collect()
        };
        match init {
            Init::Const(value) => vec![value; count],
            Init::Uniform { lo, up } => uniform(lo, up),
            Init::Randn { mean, stdev } => normal(&mut rng, count, mean, stdev),
            Init::Kaiming { dist, fan, non_linearity } => {
                let stdev = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
                match dist {
                    // The uniform distribution over [-b, b] has the standard deviation b / sqrt(3).
                    NormalOrUniform::Uniform => uniform(-stdev * 3f64.sqrt(), stdev * 3f64.sqrt()),
                    NormalOrUniform::Normal => normal(&mut rng, count, 0.0, stdev),
                }
            }
        }
    }
}

impl SimpleBackend for Seeded {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(var) = made.get(name) {
            if var.shape() != &shape {
                let msg = format!("`{name}` was asked for before with another shape");
                let (expected, got) = (shape, var.shape().clone());
                return Err(Error::UnexpectedShape { msg, expected, got });
            }
            return Ok(var.as_tensor().clone());
        }
        let values = Tensor::from_vec(self.draw(&shape, name, init), &shape, device)?;
        let var = Var::from_tensor(&values.to_dtype(dtype)?)?;
        made.insert(name.to_string(), var.clone());
        Ok(var.into_inner())
    }

    /// Only what was drawn before: without a shape nothing can be drawn.
    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::CannotFindTensor { path: name.to_string() };
        Ok(made.get(name).ok_or_else(missing)?.as_tensor().clone())
    }

    /// Every name can be drawn.
    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Normally distributed numbers by the Box-Muller transform.
fn normal(rng: &mut ChaCha8Rng, count: usize, mean: f64, stdev: f64) -> Vec<f64> {
    let mut draw = || {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        mean + stdev * radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
    };
    (0..count).map(|_| draw()).collect()
}

/// The 64-bit FNV-1a hash: the same on every platform and in every version.
fn fnv1a(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
