//! Labels: from mean ratings by a threshold, or from a user's own lines.

use std::path::Path;

use super::Labelled;
use super::split::normalised;
use crate::common::Result;
use crate::common::rated::{Rated, Set};

/// What becomes of ratings between the thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// They are no samples.
    LeftOut,
    /// They are a class of their own.
    Neutral,
}

/// A rating of `threshold` or more is positive, one of `-threshold` or less is negative. Sentences of one
/// review are a group.
pub(crate) fn of_ratings(
    set: Set,
    rated: Vec<Rated>,
    threshold: f64,
    between: Between,
) -> impl Iterator<Item = Labelled> {
    rated.into_iter().filter_map(move |rated| {
        let class = match (rated.rating, between) {
            (rating, _) if rating >= threshold => "positive",
            (rating, _) if rating <= -threshold => "negative",
            (_, Between::Neutral) => "neutral",
            (_, Between::LeftOut) => return None,
        };
        let group = format!("{set:?} {}", rated.review());
        Some(Labelled { group, class: class.to_string(), text: rated.text })
    })
}

/// The lines of a file: label, tab, text. Each line is a group of its own.
///
/// # Errors
///
/// The file cannot be read, is not UTF-8, or has a line of another form: one line that names it.
pub(crate) fn of_lines(path: &Path) -> Result<Vec<Labelled>> {
    let name = path.display();
    let lines = std::fs::read_to_string(path).map_err(|error| {
        format!("{name}: {error}; expected lines of label, tab and text, in UTF-8")
    })?;
    parse(&name.to_string(), &lines)
}

/// As [`of_lines`], of the file's content.
///
/// # Errors
///
/// As [`of_lines`].
pub(crate) fn parse(name: &str, lines: &str) -> Result<Vec<Labelled>> {
    let lines = lines.trim_start_matches('\u{feff}').lines().enumerate();
    let read =
        |(at, line): (usize, &str)| match line.split_once('\t') {
            Some((class, text)) if !class.trim().is_empty() && !text.trim().is_empty() => {
                let (class, text) = (class.trim().to_string(), text.trim().to_string());
                Ok(Labelled { group: normalised(&text), class, text })
            }
            _ => Err(format!("{name}: line {} is not a label, a tab and a text; `{line}`", at + 1)
                .into()),
        };
    lines.filter(|(_, line)| !line.trim().is_empty()).map(read).collect()
}
