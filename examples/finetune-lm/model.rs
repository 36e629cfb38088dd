//! The model: a small one of bytes, or one from a folder.

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use freeze_core::Freezable;
use freeze_core::init::Seeded;
use freeze_core::models::llama::{Config, LlamaForCausalLM};
use freeze_core::models::{PretrainedConfig, load_pretrained};

use crate::args::Args;
use crate::common::{Result, tokenizer::tokenizer};
use crate::text::Tokens;

/// The settings of the model that the command line names, and its tokens.
///
/// # Errors
///
/// A file of the folder is missing or wrong, or rows are longer than the model can read.
pub(crate) fn settings(args: &Args) -> Result<(Config, Tokens)> {
    let (config, tokens) = match &args.model {
        None => {
            let config = small(args);
            let fault = |error| format!("--size {}: {error}; take a multiple of 128", args.size);
            config.check().map_err(fault)?;
            (config, Tokens::Bytes)
        }
        Some(folder) => {
            let config = Config::from_file(folder)?;
            let path = folder.join("tokenizer.json");
            let name = path.display().to_string();
            let json = std::fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
            let tokens = tokenizer(&name, &json, config.vocab_size)?;
            (config, Tokens::Of(Box::new(tokens)))
        }
    };
    if args.length > config.max_position_embeddings {
        let positions = config.max_position_embeddings;
        let text = format!("--length {}: the model has {positions} positions", args.length);
        return Err(format!("{text}; take fewer tokens").into());
    }
    Ok((config, tokens))
}

/// A Llama of bytes with heads of 64, two of queries for one of keys.
fn small(args: &Args) -> Config {
    let heads = (args.size / 64).max(1);
    Config {
        vocab_size: 256,
        hidden_size: args.size,
        intermediate_size: 3 * args.size,
        num_hidden_layers: args.layers,
        num_attention_heads: heads,
        num_key_value_heads: Some(if heads.is_multiple_of(2) { heads / 2 } else { heads }),
        max_position_embeddings: args.length.max(2048),
        seed: args.seed,
        ..Default::default()
    }
}

/// The model with its weights: those of the folder, or random ones.
///
/// # Errors
///
/// The folder's weights are not all of the model's.
pub(crate) fn net(args: &Args, config: &Config) -> Result<LlamaForCausalLM> {
    let Some(folder) = &args.model else {
        let vb = Seeded::builder(args.seed, DType::F32, &Device::Cpu);
        return Ok(LlamaForCausalLM::new(config, vb)?);
    };
    let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
    let net = LlamaForCausalLM::new(config, vb)?.into_trainable()?;
    let loaded = load_pretrained(&net, folder)?;
    if !loaded.missing.is_empty() || !loaded.misshaped.is_empty() {
        let text = format!("{}: not the weights of its config.json", folder.display());
        return Err(format!("{text}: {loaded}").into());
    }
    Ok(net)
}
