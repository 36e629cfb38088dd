//! Shared by the examples: files beside checkpoints, images, rated sentences, tokenisers, policies by name, a progress bar,
//! tables, means, ranks.

pub(crate) mod beside;
pub(crate) mod dataset;
pub(crate) mod idx;
pub(crate) mod mean;
pub(crate) mod policy;
pub(crate) mod progress;
pub(crate) mod ranks;
pub(crate) mod rated;
pub(crate) mod table;
pub(crate) mod tokenizer;

use candle_core::DType;
use candle_nn::Module;
use clap::builder::RangedU64ValueParser;

use dataset::Images;

/// The examples report every failure as one line of text.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs an example: a failure is one line on standard error and exit code 1.
pub(crate) fn exit(result: Result<()>) -> std::process::ExitCode {
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Parses command-line counts: 1 to a million.
pub(crate) fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

/// The share of images whose class has the highest score.
///
/// # Errors
///
/// candle failed.
pub(crate) fn accuracy(net: &impl Module, images: &Images) -> candle_core::Result<f64> {
    let mut right = 0.0;
    for batch in images.ordered(100) {
        let (pixels, classes) = batch?;
        let found = net.forward(&pixels)?.argmax(1)?.eq(&classes)?;
        right += f64::from(found.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(right / images.len() as f64)
}
