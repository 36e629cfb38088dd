//! The text to learn, as tokens.

use std::collections::HashSet;
use std::path::Path;

use candle_core::{Device, Tensor};
use clap::ValueEnum;
use rand::{Rng, RngExt};
use tokenizers::Tokenizer;
use twox_hash::XxHash3_128;

use crate::common::Result;
use crate::common::rated::{Set, fetched};

/// What becomes of text.
pub(crate) enum Tokens {
    /// A token for each byte.
    Bytes,
    /// Those of a model.
    Of(Box<Tokenizer>),
}

/// Tokens to learn and to check by.
pub(crate) struct Text {
    train: Vec<u32>,
    valid: Vec<u32>,
    /// Bytes of validation text in a token.
    pub(crate) bytes_per_token: f64,
}

impl Text {
    /// The text of a file, whose last tenth is for validation, or without one the sentences that `fetch.sh` got:
    /// validation is every twentieth review, tweet or movie sentence, by a hash of its id.
    ///
    /// # Errors
    ///
    /// A file is missing or wrong, or there are less tokens than a row of `length` takes.
    pub(crate) fn read(file: Option<&Path>, tokens: &Tokens, length: usize) -> Result<Self> {
        let (train, valid) = match file {
            Some(path) => halves(path)?,
            None => sentences()?,
        };
        let bytes = valid.len();
        let (train, valid) = (tokens.of(&train)?, tokens.of(&valid)?);
        for (what, tokens) in [("training", &train), ("validation", &valid)] {
            if tokens.len() <= length {
                let found = format!("{} tokens for {what}, a row has {length}", tokens.len());
                return Err(format!("{found}; take more text or a smaller --length").into());
            }
        }
        let bytes_per_token = bytes as f64 / valid.len() as f64;
        Ok(Self { train, valid, bytes_per_token })
    }

    /// The numbers of tokens.
    pub(crate) fn counts(&self) -> [usize; 2] {
        [self.train.len(), self.valid.len()]
    }

    /// Rows from anywhere in the training text, `[rows, length]`.
    pub(crate) fn batch(
        &self,
        rows: usize,
        length: usize,
        rng: &mut impl Rng,
    ) -> candle_core::Result<Tensor> {
        let mut all = Vec::with_capacity(rows * length);
        for _ in 0..rows {
            let start = rng.random_range(0..=self.train.len() - length);
            all.extend_from_slice(&self.train[start..start + length]);
        }
        Tensor::from_vec(all, (rows, length), &Device::Cpu)
    }

    /// The validation text, at most `most` rows of it, as batches of up to `rows`.
    pub(crate) fn check(
        &self,
        rows: usize,
        length: usize,
        most: usize,
    ) -> candle_core::Result<Vec<Tensor>> {
        let whole = (self.valid.len() / length).min(most);
        let chunks = self.valid[..whole * length].chunks(rows * length);
        chunks
            .map(|rows| Tensor::from_slice(rows, (rows.len() / length, length), &Device::Cpu))
            .collect()
    }
}

impl Tokens {
    fn of(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Self::Of(tokenizer) => {
                let encoded = tokenizer.encode_fast(text, false);
                Ok(encoded.map_err(|error| error.to_string())?.get_ids().to_vec())
            }
        }
    }
}

/// Nine tenths of a file, and the rest.
fn halves(path: &Path) -> Result<(String, String)> {
    let fault =
        |error: std::io::Error| format!("{}: {error}; expected text in UTF-8", path.display());
    let text = std::fs::read_to_string(path).map_err(fault)?;
    let mut at = text.len() / 10 * 9;
    while !text.is_char_boundary(at) {
        at += 1;
    }
    let (train, valid) = text.split_at(at);
    Ok((train.to_string(), valid.to_string()))
}

/// All sentences, a line each; no sentence is in both parts.
fn sentences() -> Result<(String, String)> {
    let (mut train, mut valid) = (String::new(), String::new());
    let mut seen = HashSet::new();
    for set in Set::value_variants() {
        for rated in set.read(&fetched())? {
            let name = format!("{set:?}/{}", rated.review());
            if !seen.insert(rated.text.to_lowercase()) {
                continue;
            }
            let checks = XxHash3_128::oneshot(name.as_bytes()).is_multiple_of(20);
            let part = if checks { &mut valid } else { &mut train };
            part.push_str(&rated.text);
            part.push('\n');
        }
    }
    Ok((train, valid))
}
