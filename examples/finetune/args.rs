//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use freeze_core::models::Pooling;
use freeze_core::policy::{Boxed, from_text};

use crate::common::rated::{Set, fetched};
use crate::common::{Result, count, policy::policy};
use crate::folder::Folder;
use crate::task::Between;

/// Fine-tunes MiniLM, or another BERT, to tell positive from negative sentences, or classes of yours.
/// `bash examples/finetune/fetch.sh` gets weights and texts.
#[derive(Parser)]
#[command(args_override_self = true)]
pub(crate) struct Args {
    /// Folder that fetch.sh filled
    #[arg(long, value_name = "DIR", default_value_os_t = fetched(), hide_default_value = true)]
    pub(crate) downloads: PathBuf,
    /// Folder with config.json, tokenizer.json and model.safetensors of a BERT; by default MiniLM from
    /// fetch.sh, and for a prediction what was saved last
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// File of your own texts: lines of label, tab and text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sets", "threshold", "neutral"])]
    pub(crate) data: Option<PathBuf>,
    /// Sets of rated sentences to learn from
    #[arg(long, value_delimiter = ',', default_value = "movies")]
    pub(crate) sets: Vec<Set>,
    /// A sentence is positive if its mean rating, -4 to 4, is this or more, negative if it is minus this or
    /// less
    #[arg(long, value_name = "RATING", default_value_t = 0.5, value_parser = rating)]
    pub(crate) threshold: f64,
    /// Make a third class of the sentences in between, which are left out otherwise
    #[arg(long)]
    pub(crate) neutral: bool,
    /// Learn 64 built-in sentences with a tiny model from random weights, without downloads
    #[arg(long, conflicts_with_all = ["model", "sets", "threshold", "neutral"])]
    pub(crate) tiny: bool,
    /// Folder to save the best weights in, under their published names
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Passes over the training texts
    #[arg(long, default_value_t = 3, value_parser = count())]
    pub(crate) epochs: usize,
    /// Texts in a batch
    #[arg(long, default_value_t = 32, value_parser = count())]
    pub(crate) batch_size: usize,
    /// Batches in a step
    #[arg(long, value_name = "BATCHES", default_value_t = 1, value_parser = count())]
    pub(crate) accumulate: usize,
    /// The highest learning rate
    #[arg(long, default_value_t = 1e-4, allow_negative_numbers = true)]
    pub(crate) lr: f64,
    /// Share of the run in which the learning rate rises; it falls to 0 afterwards
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, allow_negative_numbers = true)]
    pub(crate) warmup: f64,
    /// Decay of weights, except biases and norms
    #[arg(long, default_value_t = 0.01, allow_negative_numbers = true)]
    pub(crate) weight_decay: f64,
    /// Largest norm of a step's gradients
    #[arg(long, value_name = "NORM", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) clip: f64,
    /// Probability of dropout, instead of the model's own
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) dropout: Option<f64>,
    /// Share of each label that is spread over all classes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) label_smoothing: f64,
    /// What stands for a text: the mean of its tokens, or the first through the model's pooler
    #[arg(long, value_enum, default_value_t = Pooled::Mean)]
    pub(crate) pooling: Pooled,
    /// Tokens after which a text is cut off: by default 128, or as the model was fine-tuned
    #[arg(long, value_name = "TOKENS", value_parser = count())]
    pub(crate) max_length: Option<usize>,
    /// Decides the new head's weights, the order of the texts and what dropout drops
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Stop after so many epochs without a better validation accuracy
    #[arg(long, value_name = "EPOCHS", default_value_t = 2, value_parser = count())]
    pub(crate) patience: usize,

    /// Freeze the embeddings and so many layers in front from the start; without it all train
    #[arg(long, value_name = "LAYERS")]
    pub(crate) frozen: Option<usize>,
    /// Freeze by this policy: a name with settings such as `linear:start=0.3`, or a .toml or .json file
    #[arg(long, value_name = "TEXT_OR_FILE")]
    pub(crate) policy: Option<String>,
    /// Train what is most important within this share of a full step's time: the policy `budget`
    #[arg(long, value_name = "SHARE", conflicts_with = "policy", allow_negative_numbers = true)]
    pub(crate) budget: Option<f64>,
    /// Store the outputs of frozen layers in up to so many MB of memory
    #[arg(long, value_name = "MB", num_args = 0..=1, default_missing_value = "2048", value_parser = count())]
    pub(crate) cache: Option<usize>,
    /// Keep no activations of so many layers in a row, and run them again in the backward
    #[arg(long, value_name = "LAYERS", num_args = 0..=1, default_missing_value = "1", value_parser = count())]
    pub(crate) recompute: Option<usize>,
    /// Folder to keep checkpoints in, after every epoch, and the best weights
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint_dir: Option<PathBuf>,
    /// Keep one after so many steps instead of after every epoch
    #[arg(long, value_name = "STEPS", requires = "checkpoint_dir", value_parser = count())]
    pub(crate) checkpoint_steps: Option<usize>,
    /// Go on from the latest checkpoint of the folder
    #[arg(long, requires = "checkpoint_dir")]
    pub(crate) resume: bool,

    /// Train nothing, and say what class a text has
    #[arg(long, value_name = "TEXT")]
    pub(crate) predict: Option<String>,
    /// Train nothing, and say what class each line of a file has
    #[arg(long, value_name = "FILE", conflicts_with = "predict")]
    pub(crate) predict_file: Option<PathBuf>,
}

/// What stands for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pooled {
    Mean,
    Cls,
}

impl From<Pooled> for Pooling {
    fn from(pooled: Pooled) -> Self {
        match pooled {
            Pooled::Mean => Self::Mean,
            Pooled::Cls => Self::Cls,
        }
    }
}

impl Args {
    /// The policy to freeze by, if any.
    ///
    /// # Errors
    ///
    /// There is no such policy, or its settings are wrong.
    pub(crate) fn freezing(&self) -> Result<Option<Boxed>> {
        match (&self.policy, self.budget) {
            (Some(text), _) => Ok(Some(policy(text)?)),
            (None, Some(share)) => Ok(Some(from_text(&format!("budget:time={share}"))?)),
            (None, None) => Ok(None),
        }
    }

    /// The model to begin with.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`].
    pub(crate) fn folder(&self) -> Result<Folder> {
        let mut folder = match (&self.model, self.tiny) {
            (None, true) => Folder::tiny()?,
            (None, false) => Folder::open(&self.downloads.join("minilm"))?,
            (Some(path), _) => Folder::open(path)?,
        };
        if let Some(tokens) = self.max_length {
            folder.cut_after(tokens);
        }
        if let Some(share) = self.dropout {
            folder.config.hidden_dropout_prob = share;
            folder.config.attention_probs_dropout_prob = share;
        }
        Ok(folder)
    }

    /// Where the best weights are saved.
    pub(crate) fn out(&self) -> PathBuf {
        let name = if self.tiny { "tiny" } else { "sentiment" };
        self.out.clone().unwrap_or_else(|| self.downloads.join(name))
    }

    /// What becomes of sentences that are neither positive nor negative.
    pub(crate) fn between(&self) -> Between {
        match self.neutral {
            true => Between::Neutral,
            false => Between::LeftOut,
        }
    }
}

fn rating(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(rating) if rating > 0.0 && rating <= 4.0 => Ok(rating),
        _ => Err("expected a number above 0 and at most 4".to_string()),
    }
}
