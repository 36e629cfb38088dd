//! The tokeniser beside a model's weights.

use tokenizers::Tokenizer;

use super::Result;

/// The tokeniser that `json`, the content of the file `name`, describes, for a model that knows `vocabulary` tokens.
///
/// # Errors
///
/// It is no such file, or of a model with more tokens.
pub(crate) fn tokenizer(name: &str, json: &[u8], vocabulary: usize) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::from_bytes(json).map_err(|error| {
        format!("{name}: {error}; expected a `tokenizer.json` of the crate `tokenizers`")
    })?;
    let known = tokenizer.get_vocab_size(true);
    if known > vocabulary {
        let found = format!("{name}: it has {known} tokens, the model {vocabulary}");
        return Err(format!("{found}; take both files from one model").into());
    }
    Ok(tokenizer)
}
