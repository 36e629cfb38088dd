//! Published weights into a model that is there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{fault, parse};
use super::resnet;
use crate::checkpoint::WeightFile;
use crate::error::{Result, listed};
use crate::load::{Load, Loaded};
use crate::model::{Freezable, Whole};

/// Loads published weights, a safetensors file, the `.index.json` of several or the folder that has either, into
/// the variables of the same names. What the file does not have, such as a new head, stays as it is and is reported as
/// missing.
///
/// Files of the bare model and of one with a head differ by a prefix (`bert.`), and old files call the tensors of
/// norms `gamma` and `beta`: both are recognised, and so are the names that `transformers` has for a ResNet.
///
/// ```no_run
/// use candle_core::{DType, Device};
/// use freeze_core::init::Seeded;
/// use freeze_core::models::{Pooling, PretrainedConfig, load_pretrained};
/// use freeze_core::models::bert::{BertForSequenceClassification, Config};
///
/// let config = Config::from_file("all-MiniLM-L6-v2")?;
/// let vb = Seeded::builder(42, DType::F32, &Device::Cpu);
/// let net = BertForSequenceClassification::new(&config, 2, Pooling::Mean, vb)?;
/// let loaded = load_pretrained(&net, "all-MiniLM-L6-v2")?;
/// assert_eq!(loaded.missing, ["classifier.weight", "classifier.bias"]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Errors
///
/// There is no such file, or as [`Load::into_model`].
pub fn load_pretrained<T: Whole>(model: &T, path: impl AsRef<Path>) -> Result<Loaded> {
    let files = files(path.as_ref())?;
    let tensors = model.whole_model().named_tensors()?;
    let known: HashSet<String> = tensors.into_iter().map(|(name, _)| name).collect();
    let mut names = Vec::new();
    for file in &files {
        names.extend(WeightFile::open(file)?.names());
    }
    let prefix = Prefix::between(&names, &known);
    let mut files = files.into_iter();
    let first = files.next().unwrap_or_else(|| path.as_ref().to_path_buf());
    let load = files.fold(Load::new(first), Load::and);
    load.rename_with(move |name| known_name(name, &prefix, &known)).into_model(model)
}

/// The files with the weights.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        let is_index = path.extension().is_some_and(|extension| extension == "json");
        return if is_index { parts(path) } else { Ok(vec![path.to_path_buf()]) };
    }
    // The whole first, as transformers looks for them: an index may be left from before.
    let whole = path.join("model.safetensors");
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    let index = path.join("model.safetensors.index.json");
    if index.is_file() {
        return parts(&index);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut there: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    there.sort();
    let why = format!("it has no `model.safetensors`; there is {}", listed(there));
    Err(fault(&path.display().to_string(), why))
}

/// The files that an index of tensors names.
fn parts(index: &Path) -> Result<Vec<PathBuf>> {
    let of = index.display().to_string();
    let text = std::fs::read_to_string(index)
        .map_err(|error| fault(&of, format!("cannot be read: {error}")))?;
    let json = parse(&of, &text)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let names = map.into_iter().flat_map(|map| map.values()).filter_map(Value::as_str);
    let names: BTreeSet<&str> = names.collect();
    match names.is_empty() {
        true => Err(fault(&of, "its `weight_map` names no file".into())),
        false => Ok(names.into_iter().map(|name| index.with_file_name(name)).collect()),
    }
}

/// How the names of a file become those of the model.
enum Prefix {
    Same,
    Added(String),
    Stripped(String),
}

impl Prefix {
    /// The way that finds most names.
    fn between(names: &[String], known: &HashSet<String>) -> Self {
        let first = |name: &str| name.split_once('.').map(|(first, _)| format!("{first}."));
        let mut ways = BTreeMap::new();
        for prefix in known.iter().filter_map(|name| first(name)).collect::<BTreeSet<_>>() {
            let found = names.iter().filter(|name| known.contains(&format!("{prefix}{name}")));
            ways.insert(found.count(), Self::Added(prefix));
        }
        for prefix in names.iter().filter_map(|name| first(name)).collect::<BTreeSet<_>>() {
            let rests = names.iter().filter_map(|name| name.strip_prefix(&prefix));
            ways.insert(rests.filter(|rest| known.contains(*rest)).count(), Self::Stripped(prefix));
        }
        let same = names.iter().filter(|name| known.contains(*name)).count();
        match ways.pop_last() {
            Some((found, way)) if found > same => way,
            _ => Self::Same,
        }
    }

    fn apply(&self, name: &str) -> String {
        match self {
            Self::Same => name.to_string(),
            Self::Added(prefix) => format!("{prefix}{name}"),
            Self::Stripped(prefix) => name.strip_prefix(prefix).unwrap_or(name).to_string(),
        }
    }
}

/// The model's name of the tensor called `name`, or `name` if it has none.
fn known_name(name: &str, prefix: &Prefix, known: &HashSet<String>) -> String {
    let modern = match name.rsplit_once('.') {
        Some((layer, "gamma")) => format!("{layer}.weight"),
        Some((layer, "beta")) => format!("{layer}.bias"),
        _ => name.to_string(),
    };
    let torchvision = resnet::torchvision_name(name);
    let ways = [name.to_string(), prefix.apply(name), prefix.apply(&modern), modern, torchvision];
    ways.into_iter().find(|way| known.contains(way)).unwrap_or_else(|| name.to_string())
}
