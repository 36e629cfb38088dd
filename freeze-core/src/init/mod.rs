//! Initial weights from a seed: candle's CPU generator cannot be seeded.

mod draw;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Error, Result, Shape, Tensor, Var};
use candle_nn::Init;
use candle_nn::var_builder::{SimpleBackend, VarBuilder};

/// A backend for [`VarBuilder`] that draws each tensor from its own generator, seeded by the seed
/// and the tensor's name. So neither the order of the layers nor an added layer changes the weights
/// of the others.
///
/// Numbers are drawn in f64 on the host (ChaCha8, Box and Muller's transform, 1958, in software
/// arithmetic) and rounded to the requested type, so every machine and device has the same weights,
/// up to that rounding. It returns variables; the same name returns the same variable.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::linear;
/// use freeze_core::init::Seeded;
///
/// let vb = Seeded::builder(42, DType::F32, &Device::Cpu);
/// let head = linear(4, 2, vb.pp("head"))?;
/// let again = linear(4, 2, Seeded::builder(42, DType::F32, &Device::Cpu).pp("head"))?;
/// assert_eq!(head.weight().to_vec2::<f32>()?, again.weight().to_vec2::<f32>()?);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub struct Seeded {
    seed: u64,
    made: Mutex<HashMap<String, Var>>,
}

impl Seeded {
    /// A backend whose weights depend only on `seed` and their names.
    pub fn new(seed: u64) -> Self {
        Self { seed, made: Mutex::default() }
    }

    /// A `VarBuilder` over a new backend.
    pub fn builder(seed: u64, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Self::new(seed)), dtype, device.clone())
    }

    fn made(&self) -> MutexGuard<'_, HashMap<String, Var>> {
        // Variables are complete when inserted, so a panic in another thread does no harm.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut made = self.made();
        if let Some(var) = made.get(name) {
            if var.shape() != &shape {
                let msg = format!("`{name}` was asked for before with another shape");
                let (expected, got) = (shape, var.shape().clone());
                return Err(Error::UnexpectedShape { msg, expected, got });
            }
            return known(name, var, dtype, device);
        }
        let values = draw::draw(self.seed, name, &shape, init)?;
        // Some devices have no f64.
        let values = Tensor::from_vec(values, &shape, &Device::Cpu)?.to_dtype(dtype)?;
        let var = Var::from_tensor(&values.to_device(device)?)?;
        made.insert(name.to_string(), var.clone());
        Ok(var.into_inner())
    }

    /// Returns only a tensor that was drawn before, because drawing needs a shape.
    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        match self.made().get(name) {
            Some(var) => known(name, var, dtype, device),
            None => Err(Error::CannotFindTensor { path: name.to_string() }),
        }
    }

    /// Always true: every name can be drawn.
    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// The variable that was returned before, if it has the requested type and device.
fn known(name: &str, var: &Var, dtype: DType, device: &Device) -> Result<Tensor> {
    if var.dtype() != dtype || !var.device().same_device(device) {
        candle_core::bail!(
            "`{name}` was asked for before as {:?} on {:?}, now as {dtype:?} on {:?}",
            var.dtype(),
            var.device().location(),
            device.location()
        );
    }
    Ok(var.as_tensor().clone())
}

impl fmt::Debug for Seeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.made().len();
        f.debug_struct("Seeded").field("seed", &self.seed).field("made", &made).finish()
    }
}
