//! What ranks say of themselves where they do not agree.

use twox_hash::XxHash3_128;

use crate::error::Error;

/// Names, and what each is on this rank.
pub(crate) type Words = Vec<(String, String)>;

/// A number that differs where the bytes do.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    XxHash3_128::oneshot(bytes) as u64
}

/// The fingerprint of words.
pub(crate) fn fingerprint_of(words: &Words) -> u64 {
    let lines = words.iter().map(|(name, what)| format!("{name}\0{what}\n"));
    fingerprint(lines.collect::<String>().as_bytes())
}

/// The first difference of a rank to rank 0.
pub(super) fn difference(told: &[Words]) -> Error {
    let first = &told[0];
    for (rank, words) in told.iter().enumerate().skip(1) {
        let both = first.iter().zip(words).find(|(ours, theirs)| ours != theirs);
        let found = match (both, first.len().cmp(&words.len())) {
            (Some(((name, ours), (other, theirs))), _) if name == other => {
                format!("{name} is {theirs}, on rank 0 it is {ours}")
            }
            (Some(((name, _), (other, _))), _) => format!("it has {other} where rank 0 has {name}"),
            (None, std::cmp::Ordering::Less) => {
                format!("it has {}, rank 0 has not", words[first.len()].0)
            }
            (None, std::cmp::Ordering::Greater) => {
                format!("it lacks {}, which rank 0 has", first[words.len()].0)
            }
            (None, std::cmp::Ordering::Equal) => continue,
        };
        return Error::rank(
            rank,
            format!("{found}; every rank must run the same program with the same settings"),
        );
    }
    Error::training("the ranks are not at the same call, though they describe it in the same words")
}
