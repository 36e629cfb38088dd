//! Names and numbers in error messages, shortened where they are long.

/// The longest name that is shown whole, in characters.
const WHOLE: usize = 80;

/// How many names of a list are shown.
const SHOWN: usize = 8;

/// The first eight names in backticks, and how many more there are.
pub(crate) fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    several(names.into_iter().map(|name| format!("`{}`", cut(name.as_ref()))), ", ")
}

/// The first eight faults, and how many more there are.
pub(crate) fn several(faults: impl IntoIterator<Item = String>, between: &str) -> String {
    let mut faults = faults.into_iter();
    let shown = faults.by_ref().take(SHOWN).collect::<Vec<_>>().join(between);
    match faults.count() {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A name or pattern; a long one without its middle.
pub(crate) fn cut(text: &str) -> String {
    let mut after = text.char_indices().skip(WHOLE);
    if after.next().is_none() {
        return text.to_string();
    }
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let tail = text.char_indices().rev().nth(19).map_or(0, |(at, _)| at);
    format!("{}…{}", &text[..at(WHOLE - 21)], &text[tail..])
}

/// A number in the shortest form that parses back to the same value.
pub(super) fn short(value: &f64) -> String {
    let size = value.abs();
    match size == 0.0 || !size.is_finite() || (1e-5..1e16).contains(&size) {
        true => value.to_string(),
        false => format!("{value:e}"),
    }
}

/// The end of a "not found" sentence: the names nearest to `wanted`, or nothing.
pub(crate) fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let wanted = cut(wanted);
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, name), name))
        .filter(|(score, _)| *score > 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.dedup_by(|a, b| a.1 == b.1);
    match listed(scored.iter().take(3).map(|(_, name)| name)) {
        none if none.is_empty() => none,
        names => format!("; near names: {names}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_names_are_short() {
        for (count, end) in [(0, ""), (1, "`n0`"), (8, "`n7`"), (9, "`n7` and 1 more")] {
            let list = listed((0..count).map(|i| format!("n{i}")));
            assert!(list.ends_with(end), "{list}");
            assert_eq!(list.matches('`').count(), 2 * count.min(8), "{list}");
        }
        // Eight names in backticks, seven commas, how many more.
        let list = listed((0..48).map(|_| "x".repeat(5000)));
        assert_eq!(list.chars().count(), 8 * 82 + 7 * 2 + " and 40 more".len());
        for length in [0, 79, 80] {
            assert_eq!(cut(&"é".repeat(length)), "é".repeat(length));
        }
        let long = format!("{}{}{}", "é".repeat(59), "-".repeat(1000), "ü".repeat(20));
        assert_eq!(cut(&long), format!("{}…{}", "é".repeat(59), "ü".repeat(20)));
    }

    #[test]
    fn numbers_are_short_and_read_back() {
        for (value, text) in [
            (0.0, "0"),
            (-0.1, "-0.1"),
            (1e15, "1000000000000000"),
            (-1e300, "-1e300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(short(&value), text);
            assert!(value.is_nan() || text.parse() == Ok(value), "{text}");
        }
    }
}
