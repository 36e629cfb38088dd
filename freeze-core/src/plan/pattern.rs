//! Glob patterns over the paths of leaves.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result, cut, near};

/// The indices of the paths that `pattern` matches.
pub(crate) fn matching<'a>(
    pattern: &str,
    paths: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<usize>> {
    let set = compile(pattern)?;
    let hit = |path: &str| set.is_match(path.replace('.', "/"));
    Ok(paths
        .into_iter()
        .enumerate()
        .filter(|(_, path)| hit(path))
        .map(|(index, _)| index)
        .collect())
}

/// As [`matching`]; an error with the near names if there are none.
pub(crate) fn matching_any(pattern: &str, paths: &[String]) -> Result<Vec<usize>> {
    let paths = || paths.iter().map(String::as_str);
    let hits = matching(pattern, paths())?;
    match hits.is_empty() {
        true => Err(Error::NoMatch { pattern: pattern.into(), near: near(pattern, paths()) }),
        false => Ok(hits),
    }
}

/// The indices of the parameters of which a full name or the path of its leaf matches `pattern`; an error if there
/// are none.
pub(crate) fn matching_params<'a, N>(
    pattern: &str,
    params: impl IntoIterator<Item = N>,
) -> Result<BTreeSet<usize>>
where
    N: IntoIterator<Item = (&'a str, &'a str)>,
{
    let of = params.into_iter().enumerate();
    let (of, params): (Vec<usize>, Vec<(&str, &str)>) =
        of.flat_map(|(index, names)| names.into_iter().map(move |names| (index, names))).unzip();
    let mut hits = matching(pattern, params.iter().map(|(name, _)| *name))?;
    hits.extend(matching(pattern, params.iter().map(|(_, leaf)| *leaf))?);
    if hits.is_empty() {
        let group = format!("{pattern}.");
        let near = match params.iter().any(|(name, _)| name.starts_with(&group)) {
            true => format!("; `{0}` is a group: what it holds is `{0}.**`", cut(pattern)),
            false => near(pattern, params.iter().flat_map(|(name, leaf)| [*name, *leaf])),
        };
        return Err(Error::NoMatch { pattern: pattern.to_string(), near });
    }
    Ok(hits.into_iter().filter_map(|hit| of.get(hit).copied()).collect())
}

fn compile(pattern: &str) -> Result<GlobSet> {
    let fault = |why: globset::Error| {
        let opened = pattern.contains(['[', ']', '{', '}']);
        let escape = if opened { "; `[[]` and `[{]` stand for `[` and `{` themselves" } else { "" };
        Error::Pattern { pattern: pattern.to_string(), why: format!("{}{escape}", why.kind()) }
    };
    let glob = |text: &str| {
        let mut builder = GlobBuilder::new(text);
        builder.literal_separator(true).empty_alternates(true).build().map_err(fault)
    };
    let slashed = open_ended(&pattern.replace('.', "/"));
    let mut set = GlobSetBuilder::new();
    // globset's trailing `/**` leaves out the path itself; ours may match no segment at all.
    if let Some(stem) = slashed.strip_suffix("/**") {
        set.add(glob(stem)?);
    }
    set.add(glob(&slashed)?);
    set.build().map_err(fault)
}

/// `pattern` in which a `/**` that ends an alternative may match nothing, too.
fn open_ended(pattern: &str) -> String {
    let (mut text, mut rest, mut depth) = (String::new(), pattern, 0_usize);
    while let Some(first) = rest.chars().next() {
        let behind = rest.strip_prefix("/**").filter(|behind| behind.starts_with([',', '}']));
        if let Some(behind) = behind
            && depth > 0
        {
            text.push_str("{,/**}");
            rest = behind;
            continue;
        }
        let len = match first {
            '[' => class_len(rest),
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => first.len_utf8(),
        };
        match first {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let (token, behind) = rest.split_at(len);
        text.push_str(token);
        rest = behind;
    }
    text
}

/// The length of the class that `text` begins with; of all of it if nothing closes the class.
fn class_len(text: &str) -> usize {
    let inside = if text[1..].starts_with(['!', '^']) { 2 } else { 1 };
    // A `]` in the first place stands for itself.
    let from = inside + usize::from(text[inside..].starts_with(']'));
    text[from..].find(']').map_or(text.len(), |end| from + end + 1)
}
