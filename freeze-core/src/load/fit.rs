//! Matches tensors in files to those of a model by the files' headers, before any data is read.

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Tensor, TensorId, Var};

use super::names::{Source, paths};
use super::report::{Loaded, Misshaped};
use crate::bits::bits;
use crate::checkpoint::WeightFile;
use crate::error::{Error, Result, listed};

pub(super) struct Fit {
    /// The model's tensors, with their names, and the tensor in a file that each is loaded from.
    pairs: Vec<(String, Tensor, Source)>,
    /// The model's and the files' names, to suggest a remedy where nothing fits.
    names: (Vec<String>, Vec<String>),
    pub(super) report: Loaded,
}

impl Fit {
    pub(super) fn new(
        model: Vec<(String, Tensor)>,
        files: &[WeightFile],
        sources: Vec<Source>,
    ) -> Result<Self> {
        let names = |found: &mut dyn Iterator<Item = &String>| found.cloned().collect::<Vec<_>>();
        let names = (
            names(&mut model.iter().map(|(name, _)| name)),
            names(&mut sources.iter().map(|source| &source.wanted)),
        );
        let mut wanted: HashMap<String, Source> =
            sources.into_iter().map(|source| (source.wanted.clone(), source)).collect();
        let (mut pairs, mut report) = (Vec::new(), Loaded::default());
        let (mut met, mut without) = (HashSet::new(), Vec::new());
        for (name, tensor) in model {
            let Some(source) = wanted.remove(&name) else {
                without.push((name, tensor.id()));
                continue;
            };
            met.insert(tensor.id());
            let info = files[source.file].info(&source.name);
            let (dims, dtype) = info.map_or((&[][..], None), |info| info);
            if dims == tensor.dims() && dtype.is_some_and(|dtype| alike(dtype, tensor.dtype())) {
                report.loaded.push(name.clone());
                pairs.push((name, tensor, source));
            } else {
                let expected = (tensor.dims().to_vec(), tensor.dtype());
                report.misshaped.push(Misshaped { name, found: (dims.to_vec(), dtype), expected });
            }
        }
        // A tied tensor needs only one of its names, and counts as missing once.
        without.retain(|(_, id)| met.insert(*id));
        report.missing = without.into_iter().map(|(name, _)| name).collect();
        report.unexpected = wanted.into_values().map(|source| source.name).collect();
        report.unexpected.sort_unstable();
        Ok(Self { pairs, names, report })
    }

    /// An error if nothing fits, or if a tensor that fits cannot be written to.
    pub(super) fn check(&self, files: &[WeightFile]) -> Result<()> {
        let path = paths(files);
        let misfit = |why: String| Err(Error::Misfit { path: path.clone(), why });
        if self.pairs.is_empty() && self.report.misshaped.is_empty() {
            let first = |names: &[String]| names.first().cloned().unwrap_or_default();
            return misfit(format!(
                "no name in it is one of the model's: it begins with `{}`, the model with `{}`{}",
                first(&self.names.1),
                first(&self.names.0),
                self.remedy()
            ));
        }
        if self.pairs.is_empty() {
            return misfit(format!(
                "none of what it holds has the shape of the model's: {}",
                listed(self.report.misshaped.iter().map(|misshaped| &misshaped.name))
            ));
        }
        let plain = self.pairs.iter().filter(|(_, tensor, _)| !tensor.is_variable());
        let plain: Vec<String> = plain.map(|(name, ..)| name.clone()).collect();
        if !plain.is_empty() {
            return misfit(format!(
                "the model's {}: {} are plain tensors, which cannot be written to; call \
                 `into_trainable()`, make buffers from a `VarBuilder` of variables, and load into the \
                 whole model, not into a view",
                plain.len(),
                listed(&plain)
            ));
        }
        Ok(())
    }

    /// Suggests the rule that would make the names fit.
    fn remedy(&self) -> String {
        let (model, files) = &self.names;
        for name in model {
            let longer = files.iter().find_map(|file| {
                file.strip_suffix(name.as_str()).filter(|prefix| prefix.ends_with('.'))
            });
            if let Some(prefix) = longer {
                return format!("; try `.strip(\"{prefix}\")`");
            }
        }
        for file in files {
            let longer = model.iter().find_map(|name| {
                name.strip_suffix(file.as_str()).filter(|prefix| prefix.ends_with('.'))
            });
            if let Some(prefix) = longer {
                return format!("; try `.rename(\"\", \"{prefix}\")`");
            }
        }
        String::new()
    }

    /// Every variable with its new value, in the variable's type and on its device.
    pub(super) fn read(&self, files: &mut [WeightFile]) -> Result<Vec<(Var, Tensor)>> {
        let mut sets: Vec<(Var, Tensor)> = Vec::new();
        let mut first: HashMap<TensorId, (usize, &str)> = HashMap::new();
        for (name, tensor, source) in &self.pairs {
            let file = &mut files[source.file];
            let value = file.tensor(&source.name)?;
            let misfit = |why: String| Error::Misfit { path: file.path().to_string(), why };
            let Some(value) = converted(&value, tensor.dtype())? else {
                let dtype = tensor.dtype().as_str();
                return Err(misfit(format!(
                    "`{}` holds numbers too large for `{name}`, which is {dtype}",
                    source.name
                )));
            };
            let value = value.to_device(tensor.device())?;
            if let Some(&(at, other)) = first.get(&tensor.id()) {
                if !equal(&sets[at].1, &value)? {
                    return Err(misfit(format!(
                        "`{other}` and `{name}` are one parameter in the model, but two in it"
                    )));
                }
                continue;
            }
            first.insert(tensor.id(), (sets.len(), name));
            sets.push((Var::from_tensor(tensor)?, value));
        }
        Ok(sets)
    }
}

/// Whether one type can be converted to the other: both floats or both integers.
fn alike(found: DType, expected: DType) -> bool {
    found == expected || (found.is_float() && expected.is_float())
}

/// `value` as `dtype`; `None` if a finite number becomes infinite.
fn converted(value: &Tensor, dtype: DType) -> Result<Option<Tensor>> {
    if value.dtype() == dtype {
        return Ok(Some(value.clone()));
    }
    let converted = value.to_dtype(dtype)?;
    let widens = match dtype {
        DType::F64 => true,
        DType::F32 => value.dtype() != DType::F64,
        DType::BF16 => value.dtype() == DType::F16,
        _ => false,
    };
    if widens {
        return Ok(Some(converted));
    }
    let infinite = |tensor: &Tensor| -> Result<f64> {
        let large = tensor.to_dtype(DType::F64)?.abs()?.eq(f64::INFINITY)?;
        Ok(large.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
    };
    Ok((infinite(value)? == infinite(&converted)?).then_some(converted))
}

/// Whether all elements are equal; NaN is equal to itself.
fn equal(one: &Tensor, other: &Tensor) -> Result<bool> {
    Ok(bits(one)? == bits(other)?)
}
