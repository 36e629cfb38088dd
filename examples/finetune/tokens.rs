//! Texts as tokens.

use tokenizers::{PostProcessor, Tokenizer, TruncationParams};

use super::task::Sample;
use crate::common::{Result, tokenizer::tokenizer};

/// The tokeniser of a model.
pub(crate) struct Tokens {
    tokenizer: Tokenizer,
    padding: u32,
}

/// Texts as tokens, without padding, and their classes.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) tokens: Vec<Vec<u32>>,
    pub(crate) classes: Vec<u32>,
    pub(crate) padding: u32,
}

impl Tokens {
    /// The tokeniser that `json`, the content of the file `name`, describes, for a model that knows
    /// `vocabulary` tokens. Texts are cut off after `longest` tokens.
    ///
    /// # Errors
    ///
    /// As [`tokenizer`], or nothing of a text would be left.
    pub(crate) fn new(name: &str, json: &[u8], vocabulary: usize, longest: usize) -> Result<Self> {
        let mut tokenizer = tokenizer(name, json, vocabulary)?;
        let padding = tokenizer.get_padding().map_or(0, |padding| padding.pad_id);
        let added = tokenizer.get_post_processor().map_or(0, |ends| ends.added_tokens(false));
        if longest <= added {
            let found = format!("texts would be cut off after {longest} tokens");
            return Err(format!("{found}; {added} are their ends, so take more").into());
        }
        let cut = TruncationParams { max_length: longest, ..Default::default() };
        tokenizer
            .with_padding(None)
            .with_truncation(Some(cut))
            .map_err(|error| error.to_string())?;
        Ok(Self { tokenizer, padding })
    }

    /// The tokens of all samples.
    ///
    /// # Errors
    ///
    /// The tokeniser fails at a text, or finds no token in it.
    pub(crate) fn encode(&self, samples: &[Sample]) -> Result<Encoded> {
        let texts: Vec<&str> = samples.iter().map(|sample| sample.text.as_str()).collect();
        let all =
            self.tokenizer.encode_batch_fast(texts, true).map_err(|error| error.to_string())?;
        let tokens: Vec<Vec<u32>> = all.iter().map(|text| text.get_ids().to_vec()).collect();
        if let Some(at) = tokens.iter().position(Vec::is_empty) {
            return Err(format!("`{}` has no token", samples[at].text).into());
        }
        let classes = samples.iter().map(|sample| sample.class).collect();
        Ok(Encoded { tokens, classes, padding: self.padding })
    }
}

impl Encoded {
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens without padding.
    pub(crate) fn count(&self) -> usize {
        self.tokens.iter().map(Vec::len).sum()
    }
}
