//! The command line.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

use crate::common::count;

/// Trains a language model under several policies, each for the same time, and compares loss and memory.
/// `bash examples/finetune/fetch.sh` gets the texts.
#[derive(Parser)]
pub(crate) struct Args {
    /// Policies to compare, `all` for training every layer: names with settings such as `lisa:blocks=2`, or
    /// .toml or .json files; may be given several times. A run of seconds does not know how far it is, so policies of
    /// time need --steps, and `acts.steps`, since there is one epoch
    #[arg(long = "policy", value_name = "TEXT_OR_FILE")]
    policies: Vec<String>,
    /// Folder with config.json, tokenizer.json and model.safetensors of a Llama, SmolLM or Qwen; without it a
    /// small model of bytes from random weights
    #[arg(long, value_name = "DIR", conflicts_with_all = ["size", "layers"])]
    pub(crate) model: Option<PathBuf>,
    /// Text file of your own, whose last tenth is for validation
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
    /// Seconds of training for each policy
    #[arg(long, default_value_t = 120, value_parser = count())]
    pub(crate) seconds: usize,
    /// Train for so many steps instead
    #[arg(long, conflicts_with = "seconds", value_parser = count())]
    pub(crate) steps: Option<usize>,
    /// The size of a token's vector in the small model
    #[arg(long, default_value_t = 256, value_parser = count())]
    pub(crate) size: usize,
    /// Layers of the small model
    #[arg(long, default_value_t = 6, value_parser = count())]
    pub(crate) layers: usize,
    /// Tokens in a row of a batch, of which each but the first is to be told from those before
    #[arg(long, default_value_t = 128, value_parser = RangedU64ValueParser::<usize>::new().range(2..=1_000_000))]
    pub(crate) length: usize,
    /// Rows in a batch
    #[arg(long, default_value_t = 8, value_parser = count())]
    pub(crate) batch_size: usize,
    /// The learning rate, after 20 steps in which it rises
    #[arg(long, default_value_t = 1e-3, allow_negative_numbers = true)]
    pub(crate) lr: f64,
    /// Decides the weights of the small model and what each batch is
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Train under this policy alone and print what came of it as JSON, as the comparison has it done: a process
    /// for each, since a process has one peak of memory
    #[arg(long, value_name = "TEXT_OR_FILE", conflicts_with = "policies", hide = true)]
    pub(crate) only: Option<String>,
}

/// The name of a run without a policy.
pub(crate) const ALL: &str = "all";

impl Args {
    /// What is compared.
    pub(crate) fn policies(&self) -> Vec<String> {
        let usual = [ALL, "lisa", "badam:switch-every=20,include-rest=true", "spectrum"];
        match self.policies.is_empty() {
            true => usual.map(String::from).to_vec(),
            false => self.policies.clone(),
        }
    }
}
