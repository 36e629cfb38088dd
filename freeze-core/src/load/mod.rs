//! Loads weights from files into an existing model: by name, in part, or under other names.

mod fit;
mod names;
mod report;

use std::path::{Path, PathBuf};

use candle_core::{Tensor, Var};

use crate::checkpoint::WeightFile;
use crate::error::{Error, Result};
use crate::model::{Freezable, Whole};
use fit::Fit;
use names::Rule;
pub use report::{Loaded, Misshaped};

/// Loads the tensors of a safetensors file, or of a checkpoint, into the model's variables of the
/// same names, and reports what has no counterpart. [`Load`] also renames, reads several files, and
/// can refuse anything but a complete match.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Linear, linear};
/// use freeze_core::{Freezable, checkpoint::save_weights, init::Seeded, load::load_into};
///
/// #[derive(Freezable)]
/// struct Body {
///     layers: Vec<Linear>,
/// }
///
/// #[derive(Freezable)]
/// struct Net {
///     layers: Vec<Linear>,
///     head: Linear,
/// }
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("body.safetensors");
/// let vb = Seeded::builder(0, DType::F32, &Device::Cpu);
/// save_weights(&path, &Body { layers: vec![linear(4, 4, vb.pp("a"))?] })?;
///
/// let net = Net { layers: vec![linear(4, 4, vb.pp("b"))?], head: linear(4, 2, vb.pp("head"))? };
/// let loaded = load_into(&net, &path)?;
/// assert_eq!(loaded.loaded, ["layers.0.weight", "layers.0.bias"]);
/// assert_eq!(loaded.missing, ["head.weight", "head.bias"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`Load::into_model`].
pub fn load_into<T: Whole>(target: &T, path: impl AsRef<Path>) -> Result<Loaded> {
    Load::new(path).into_model(target)
}

/// The files to load from, and how their names map to those of the model.
///
/// ```no_run
/// # fn load(net: &candle_nn::Linear) -> freeze_core::Result<()> {
/// use freeze_core::load::Load;
///
/// let loaded = Load::new("model-00001-of-00002.safetensors")
///     .and("model-00002-of-00002.safetensors")
///     .strip("bert.")
///     .rename("classifier.", "head.")
///     .skip("cls.")
///     .into_model(net)?;
/// println!("{loaded}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Load {
    files: Vec<PathBuf>,
    rules: Vec<Rule>,
    complete: Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complete {
    Reported,
    Required,
}

impl Load {
    /// Loads from the file at `path`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let files = vec![path.as_ref().to_path_buf()];
        Self { files, rules: Vec::new(), complete: Complete::Reported }
    }

    /// Adds the file at `path`; no name may be in two files.
    pub fn and(mut self, path: impl AsRef<Path>) -> Self {
        self.files.push(path.as_ref().to_path_buf());
        self
    }

    /// Removes `prefix` from the names that begin with it. Rules apply in order, each to the result
    /// of the one before.
    pub fn strip(self, prefix: impl Into<String>) -> Self {
        self.rename(prefix, "")
    }

    /// Replaces the prefix `from` by `to`; an empty `from` puts `to` before every name.
    pub fn rename(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.rule(Rule::Rename { from: from.into(), to: to.into() })
    }

    /// Replaces every name by what `rename` returns for it.
    pub fn rename_with(self, rename: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.rule(Rule::With(Box::new(rename)))
    }

    /// Ignores the tensors whose names begin with `prefix`.
    pub fn skip(self, prefix: impl Into<String>) -> Self {
        self.rule(Rule::Skip(prefix.into()))
    }

    /// Makes it an error, instead of a line of the report, if a tensor has no counterpart or
    /// another shape.
    pub fn strict(self) -> Self {
        Self { complete: Complete::Required, ..self }
    }

    fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Writes the values into the model's variables, buffers included. The variables stay the same,
    /// so views and optimizers see the new values. Values are converted to the variable's type and
    /// moved to its device. A tied parameter needs only one of its names. Only the tensors that are
    /// used are read.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is damaged; a rule matches no name; two tensors get the same name,
    /// or a tied parameter two different values; nothing fits; the model's tensor is not a
    /// variable, so it cannot be written to; a number is too large for the variable's type; or, if
    /// [`strict`](Self::strict), a tensor has no counterpart. The model is unchanged then.
    pub fn into_model<T: Whole>(&self, target: &T) -> Result<Loaded> {
        let files = self.files.iter().map(|path| WeightFile::open(path));
        let mut files = files.collect::<Result<Vec<_>>>()?;
        let sources = names::sources(&files, &self.rules)?;
        let fit = Fit::new(target.whole_model().named_tensors()?, &files, sources)?;
        fit.check(&files)?;
        if self.complete == Complete::Required && !fit.report.is_complete() {
            let why = fit.report.shortfall();
            return Err(Error::Misfit { path: names::paths(&files), why });
        }
        let sets: Vec<(Var, Tensor)> = fit.read(&mut files)?;
        // Shape, type and device agree, so only a device that fails can stop it.
        sets.iter().try_for_each(|(var, value)| var.set(value))?;
        Ok(fit.report)
    }
}
