//! Files of weights, for any safetensors reader.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Tensor, TensorId};
use candle_nn::VarMap;

use super::weight_file::WeightFile;
use super::writer::write;
use crate::error::{Error, Result, listed};
use crate::model::{Freezable, Whole};

/// Saves every parameter and buffer by its field path, a tied one under each of its names; plain
/// candle and Python's `safetensors` can load it. Atomic and durable, like a checkpoint. For a
/// freezer the whole model is saved; its view has the same tensors.
///
/// # Errors
///
/// As [`Weights::of`] and [`Weights::save`].
pub fn save_weights<T: Whole>(path: impl AsRef<Path>, model: &T) -> Result<()> {
    Weights::of(model)?.save(path)
}

/// Reads the model's tensors from a checkpoint or a file of weights, by name, into host memory;
/// those of a checkpoint are checked against their checksums, and a tied one has the first of its
/// names.
///
/// # Errors
///
/// The file cannot be read, is damaged, has a newer format, or is a delta.
pub fn load_weights(path: impl AsRef<Path>) -> Result<HashMap<String, Tensor>> {
    let mut file = WeightFile::open(path.as_ref())?;
    let names = file.names();
    let read = |name: String| file.tensor(&name).map(|tensor| (name, tensor));
    names.into_iter().map(read).collect()
}

/// A model's tensors under the names they will be saved by.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Linear, VarBuilder, VarMap, linear};
/// use freeze_core::{Freezable, checkpoint::Weights};
///
/// #[derive(Freezable)]
/// struct Net {
///     head: Linear,
/// }
///
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
/// let net = Net { head: linear(2, 3, vb.pp("classifier"))? };
/// let weights = Weights::of(&net)?;
/// assert_eq!(weights.names().collect::<Vec<_>>(), ["head.bias", "head.weight"]);
/// let weights = weights.names_from(&map)?;
/// assert_eq!(weights.names().collect::<Vec<_>>(), ["classifier.bias", "classifier.weight"]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Every parameter and buffer under its field path.
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt, or two tensors have the same name.
    pub fn of<T: Whole>(model: &T) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in model.whole_model().named_tensors()? {
            if tensors.insert(name.clone(), tensor).is_some() {
                let why = "two tensors have that name; rename one of the fields".into();
                return Err(Error::Unsaved { what: format!("`{name}`"), why });
            }
        }
        Ok(Self { tensors })
    }

    /// The same tensors under the names that the model's `VarBuilder` gave them, matched by
    /// identity.
    ///
    /// # Errors
    ///
    /// A tensor is not in the map; all such are listed.
    pub fn names_from(self, map: &VarMap) -> Result<Self> {
        let mut given: HashMap<TensorId, Vec<String>> = HashMap::new();
        let vars = map.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, var) in vars.iter() {
            given.entry(var.id()).or_default().push(name.clone());
        }
        let mut tensors = BTreeMap::new();
        let mut strangers = Vec::new();
        for (field, tensor) in self.tensors {
            match given.get(&tensor.id()) {
                Some(names) => {
                    tensors.extend(names.iter().map(|name| (name.clone(), tensor.clone())));
                }
                None => strangers.push(field),
            }
        }
        if strangers.is_empty() {
            return Ok(Self { tensors });
        }
        let why = "the map has no such variable; hand over the map that the model was made \
                   from, and the whole model, not a view";
        Err(Error::Unsaved { what: listed(strangers), why: why.into() })
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Saves the tensors to a safetensors file, which appears complete or not at all.
    ///
    /// # Errors
    ///
    /// The file cannot be written; an older file at `path` is unchanged then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let tensors: Vec<(String, Tensor)> =
            self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        // Some Python loaders require it.
        let text = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        write(path.as_ref(), &tensors, &|_, _| Ok(text.clone()), &|_| Ok(()))
    }
}
