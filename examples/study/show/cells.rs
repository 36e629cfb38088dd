//! What tables are written of.

use crate::common::mean::Mean;

/// A line of a table.
pub(super) fn row<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// The names of the columns and the line below them: the first column stands left, the others right.
pub(super) fn header(names: &[&str]) -> String {
    let lines = names.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" });
    row(names.iter().copied()) + &row(lines)
}

/// Percent with their standard error.
pub(super) fn points(mean: &Mean) -> String {
    match mean.error {
        Some(error) => format!("{:.1} ± {:.1} %", 100.0 * mean.mean, 100.0 * error),
        None => percent(mean.mean),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Millions.
pub(super) fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_string())
}

/// A text that ends no cell and begins no markup.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if ['|', '<', '*', '_', '`', '[', '\\'].contains(&c) {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() { ' ' } else { c });
    }
    escaped
}
