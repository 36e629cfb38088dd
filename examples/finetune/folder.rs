//! A model as a folder: `config.json`, `tokenizer.json`, `model.safetensors`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use freeze_core::checkpoint::save_weights;
use freeze_core::init::Seeded;
use freeze_core::load::Loaded;
use freeze_core::models::bert::{BertForSequenceClassification, Config};
use freeze_core::models::{Pooling, PretrainedConfig, load_pretrained};
use freeze_core::{Freezable, Whole};
use serde_json::{Map, Value, json};

use crate::common::Result;
use crate::common::rated::bytes_of;
use crate::tokens::Tokens;

/// The model that is fine-tuned.
pub(crate) type Net = BertForSequenceClassification;

/// Where this file says what the classifier looks at, as in the configuration of ModernBERT.
const POOLING: &str = "classifier_pooling";

/// And where it says after how many tokens a text was cut off.
const LONGEST: &str = "classifier_max_length";

/// What [`Folder::save`] writes.
pub(crate) const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// One of these has the weights, or says which files have them.
const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// A model as it lies in a folder.
pub(crate) struct Folder {
    name: String,
    settings: Map<String, Value>,
    pub(crate) config: Config,
    tokenizer: Vec<u8>,
    /// Without any, weights are random.
    weights: Option<PathBuf>,
}

impl Folder {
    /// The files of a folder; weights are read by [`net`](Self::net).
    ///
    /// # Errors
    ///
    /// One is missing, or is not what it should be.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let [config, tokenizer] =
            ["config.json", "tokenizer.json"].map(|name| bytes_of(&path.join(name)));
        let name = path.display().to_string();
        if !WEIGHTS.iter().any(|file| path.join(file).is_file()) {
            bytes_of(&path.join(WEIGHTS[0]))?;
        }
        let weights = Some(path.to_path_buf());
        Self::of(name, &String::from_utf8_lossy(&config?), tokenizer?, weights)
    }

    /// A built-in model with three small layers, without weights.
    ///
    /// # Errors
    ///
    /// Never: its files are constants.
    pub(crate) fn tiny() -> Result<Self> {
        let tokenizer = include_bytes!("tiny/tokenizer.json").to_vec();
        Self::of("the tiny model".to_string(), include_str!("tiny/config.json"), tokenizer, None)
    }

    fn of(
        name: String,
        config: &str,
        tokenizer: Vec<u8>,
        weights: Option<PathBuf>,
    ) -> Result<Self> {
        let fault = |error: &dyn std::fmt::Display| format!("{name}: config.json: {error}");
        let settings = serde_json::from_str(config).map_err(|error| fault(&error))?;
        let config = Config::from_json(config).map_err(|error| fault(&error))?;
        Ok(Self { name, settings, config, tokenizer, weights })
    }

    /// Has texts cut off after so many tokens.
    pub(crate) fn cut_after(&mut self, tokens: usize) {
        self.settings.insert(LONGEST.into(), json!(tokens));
    }

    /// After how many tokens a text is cut off, unless the model can read no more: as was set here or when the model was
    /// fine-tuned, else 128.
    pub(crate) fn longest(&self) -> usize {
        let set = self.settings.get(LONGEST).and_then(Value::as_u64);
        set.and_then(|tokens| tokens.try_into().ok()).unwrap_or(128)
    }

    /// Its tokeniser, which cuts texts off.
    ///
    /// # Errors
    ///
    /// As [`Tokens::new`].
    pub(crate) fn tokens(&self) -> Result<Tokens> {
        let name = format!("{}: tokenizer.json", self.name);
        // A text is padded up to a multiple of eight.
        let longest = self.longest().max(1).min(self.config.max_position_embeddings / 8 * 8);
        Tokens::new(&name, &self.tokenizer, self.config.vocab_size, longest)
    }

    /// The model with its weights. What the folder does not have, such as a new head, is random by `seed`;
    /// says which.
    ///
    /// # Errors
    ///
    /// The weights cannot be read or are those of another model.
    pub(crate) fn net(&self, classes: usize, pooling: Pooling, seed: u64) -> Result<(Net, String)> {
        let (net, loaded) = self.load(classes, pooling, seed)?;
        let said = match loaded {
            None => format!("{}, random", self.name),
            Some(Loaded { loaded, missing, .. }) => {
                let new = if missing.is_empty() { "nothing".to_string() } else { quoted(&missing) };
                format!("{}, {} tensors; new: {new}", self.name, loaded.len())
            }
        };
        Ok((net, said))
    }

    /// The model with its weights, for guesses.
    ///
    /// # Errors
    ///
    /// As [`net`](Self::net), or the folder does not have all of them.
    pub(crate) fn trained_net(&self, classes: usize, pooling: Pooling) -> Result<Net> {
        let (net, loaded) = self.load(classes, pooling, 0)?;
        match loaded {
            Some(Loaded { missing, .. }) if missing.is_empty() => Ok(net),
            Some(Loaded { missing, .. }) => {
                let found = format!("{}: its weights lack {}", self.name, quoted(&missing));
                Err(format!("{found}; train first, or name a fine-tuned model by --model").into())
            }
            None => Err(format!("{}: its weights are random; train first", self.name).into()),
        }
    }

    /// The model, and what of it was loaded; `None` where there are no weights.
    fn load(&self, classes: usize, pooling: Pooling, seed: u64) -> Result<(Net, Option<Loaded>)> {
        let config = Config { seed, ..self.config.clone() };
        let vb = Seeded::builder(seed, DType::F32, &Device::Cpu);
        let net = Net::new(&config, classes, pooling, vb)?;
        let Some(path) = &self.weights else { return Ok((net.into_trainable()?, None)) };
        let loaded = load_pretrained(&net, path)?;
        if loaded.loaded.is_empty() || !loaded.misshaped.is_empty() {
            let found = format!("{}: not the weights of its config.json: {loaded}", self.name);
            return Err(found.into());
        }
        Ok((net.into_trainable()?, Some(loaded)))
    }

    /// Writes the folder `out` with the weights of `net`: it can be a `--model`, and other programs read it.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub(crate) fn save<T: Whole>(
        &self,
        out: &Path,
        net: &T,
        classes: &[String],
        pooling: Pooling,
    ) -> Result<()> {
        let ids: Map<String, Value> =
            classes.iter().enumerate().map(|(id, class)| (id.to_string(), json!(class))).collect();
        let labels: Map<String, Value> =
            classes.iter().enumerate().map(|(id, class)| (class.clone(), json!(id))).collect();
        let mut settings = self.settings.clone();
        settings.insert("architectures".into(), json!(["BertForSequenceClassification"]));
        settings.insert("id2label".into(), ids.into());
        settings.insert("label2id".into(), labels.into());
        settings.insert(LONGEST.into(), json!(self.longest()));
        settings.insert(
            POOLING.into(),
            json!(match pooling {
                Pooling::Mean => "mean",
                _ => "cls",
            }),
        );
        let write = |name: &str, bytes: &[u8]| {
            let path = beside(out, name);
            std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
        };
        std::fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
        let [config, tokenizer, weights] = FILES;
        write(config, serde_json::to_string_pretty(&settings)?.as_bytes())?;
        write(tokenizer, &self.tokenizer)?;
        save_weights(beside(out, weights), net)?;
        put_in_place(out)
    }

    /// The classes and the pooling that [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// The model was not fine-tuned.
    pub(crate) fn classes(&self) -> Result<(Vec<String>, Pooling)> {
        let ids = self.settings.get("id2label").and_then(Value::as_object);
        let class = |ids: &Map<String, Value>, id: usize| {
            Some(ids.get(&id.to_string())?.as_str()?.to_string())
        };
        let classes: Option<Vec<String>> =
            ids.and_then(|ids| (0..ids.len()).map(|id| class(ids, id)).collect());
        let pooling = match self.settings.get(POOLING).and_then(Value::as_str) {
            Some("mean") => Pooling::Mean,
            _ => Pooling::Cls,
        };
        let none = || {
            let found = format!("{}: config.json names no classes in `id2label`", self.name);
            format!("{found}; train first, or name a fine-tuned model by --model")
        };
        Ok((classes.filter(|classes| !classes.is_empty()).ok_or_else(none)?, pooling))
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Where a file is written before it takes the place of the one that is there.
pub(crate) fn beside(out: &Path, name: &str) -> PathBuf {
    out.join(format!("{name}.new"))
}

/// Has the files that were written [`beside`] take the places of those of another model, all at once as far as that goes:
/// weights of one under the classes of the other would not be noticed.
///
/// # Errors
///
/// A file cannot be put there.
pub(crate) fn put_in_place(out: &Path) -> Result<()> {
    for name in FILES {
        let put = std::fs::rename(beside(out, name), out.join(name));
        put.map_err(|error| format!("{}: {error}", out.join(name).display()))?;
    }
    Ok(())
}
