//! Which part of a split a text belongs to, whatever else is in the file.

use std::collections::HashSet;

use twox_hash::XxHash3_128;

use super::Labelled;

/// The part of the split that holds a group: 0 for training, 1 for validation, 2 for test. It depends on the
/// group's name alone, so adding texts moves none.
pub(super) fn part(group: &str) -> usize {
    match XxHash3_128::oneshot(group.as_bytes()) % 100 {
        0..70 => 0,
        70..85 => 1,
        _ => 2,
    }
}

/// The texts without those that an earlier one repeats.
pub(super) fn without_repeats(mut labelled: Vec<Labelled>) -> Vec<Labelled> {
    let mut seen = HashSet::new();
    labelled.retain(|text| seen.insert(normalised(&text.text)));
    labelled
}

/// The words of a text in lower case; of a text without words, such as `:)`, its signs.
pub(super) fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|sign: char| !sign.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    match words.is_empty() {
        true => lower.split_whitespace().collect(),
        false => words.join(" "),
    }
}
