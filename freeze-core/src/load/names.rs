//! Maps the names in files to those in the model.

use std::collections::HashMap;
use std::fmt;

use crate::checkpoint::WeightFile;
use crate::error;
use crate::error::{Error, Result};

/// One rule that changes or drops names.
pub(super) enum Rule {
    Rename { from: String, to: String },
    With(Box<dyn Fn(&str) -> String + Send + Sync>),
    Skip(String),
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Which of the files.
    pub(super) file: usize,
    /// Its name there.
    pub(super) name: String,
    /// Its name after the rules.
    pub(super) wanted: String,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rename { from, to } => write!(f, "Rename({from:?}, {to:?})"),
            Self::With(_) => f.write_str("With(..)"),
            Self::Skip(prefix) => write!(f, "Skip({prefix:?})"),
        }
    }
}

/// Every tensor of the files that no rule drops, with its new name.
///
/// # Errors
///
/// A rule matches no name, or two tensors get the same name.
pub(super) fn sources(files: &[WeightFile], rules: &[Rule]) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for (file, weights) in files.iter().enumerate() {
        let source = |name: String| Source { file, wanted: name.clone(), name };
        sources.extend(weights.names().into_iter().map(source));
    }
    for rule in rules {
        apply(rule, files, &mut sources)?;
    }
    let mut taken: HashMap<&str, &Source> = HashMap::new();
    for source in &sources {
        let Some(other) = taken.insert(&source.wanted, source) else { continue };
        let (path, there) = (files[source.file].path().to_string(), files[other.file].path());
        let why = format!(
            "`{}` would be loaded from `{}` and from `{}` in `{there}`; skip one of them",
            source.wanted, source.name, other.name
        );
        return Err(Error::Misfit { path, why });
    }
    Ok(sources)
}

/// The files' paths, joined for use between backticks.
pub(super) fn paths(files: &[WeightFile]) -> String {
    files.iter().map(WeightFile::path).collect::<Vec<_>>().join("`, `")
}

fn apply(rule: &Rule, files: &[WeightFile], sources: &mut Vec<Source>) -> Result<()> {
    let fits = |prefix: &str| {
        if sources.iter().any(|source| source.wanted.starts_with(prefix)) {
            return Ok(());
        }
        let near = error::near(prefix, sources.iter().map(|source| source.wanted.as_str()));
        let why = format!("no name in it begins with `{prefix}`{near}");
        Err(Error::Misfit { path: paths(files), why })
    };
    match rule {
        Rule::Rename { from, to } => {
            fits(from)?;
            for source in sources {
                if let Some(rest) = source.wanted.strip_prefix(from.as_str()) {
                    source.wanted = format!("{to}{rest}");
                }
            }
        }
        Rule::With(rename) => {
            sources.iter_mut().for_each(|source| source.wanted = rename(&source.wanted));
        }
        Rule::Skip(prefix) => {
            fits(prefix)?;
            sources.retain(|source| !source.wanted.starts_with(prefix.as_str()));
        }
    }
    Ok(())
}
