//! Glob patterns over the paths of leaves.

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

/// The indices of the parameters whose full name or leaf path matches `pattern`; an error if there
/// are none.
pub(crate) fn matching_params(pattern: &str, params: &[(&str, &str)]) -> Result<Vec<usize>> {
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
    Ok(hits)
}

fn compile(pattern: &str) -> Result<GlobSet> {
    let fault = |why: globset::Error| {
        let opened = pattern.contains(['[', ']', '{', '}']);
        let escape = if opened { "; `[[]` and `[{]` stand for `[` and `{` themselves" } else { "" };
        Error::Pattern { pattern: pattern.to_string(), why: format!("{}{escape}", why.kind()) }
    };
    let glob = |text: &str| GlobBuilder::new(text).literal_separator(true).build().map_err(fault);
    let slashed = pattern.replace('.', "/");
    let mut set = GlobSetBuilder::new();
    // globset's trailing `/**` leaves out the path itself; ours may match no segment at all.
    if let Some(stem) = slashed.strip_suffix("/**") {
        set.add(glob(stem)?);
    }
    set.add(glob(&slashed)?);
    set.build().map_err(fault)
}
