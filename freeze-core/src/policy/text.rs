//! Policies from one line of text, as on a command line.

use serde_json::{Map, Value};

use super::data::from_value;
use super::settings::Boxed;
use super::unique;
use crate::error::{Error, Result, cut};

/// Makes a policy from a line such as `auto-freeze:windows=20,percentile=50`: a name, and settings that
/// differ from their defaults. A value is JSON, such as `0.5`, `true` or `[0.5, 0.8]`, or else text. A dot
/// leads into a setting that has parts: `linear:acts.steps=10`.
///
/// ```
/// use freeze_core::policy::from_text;
///
/// assert_eq!(from_text("linear:start=0.3")?.describe(), "linear(start=0.3, level=1)");
/// assert_eq!(from_text("monotone:of=linear")?.describe(), "monotone(of=linear(start=0.5, level=1))");
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Errors
///
/// As [`from_json`](super::from_json), or a setting is not of the form `name=value` or given twice.
pub fn from_text(text: &str) -> Result<Boxed> {
    let (name, settings) = text.split_once(':').unwrap_or((text, ""));
    let name = name.trim();
    let mut object = Map::new();
    for setting in fields(settings).filter(|setting| !setting.is_empty()) {
        let fault = |why: &str| Error::policy(name, format!("`{}` {why}", cut(setting)));
        let (path, value) =
            setting.split_once('=').ok_or_else(|| fault("is not of the form `name=value`"))?;
        let value = value.trim();
        let value = match unique::from_str(value) {
            Ok(value) => value,
            // It is JSON all the same.
            Err(error) if error.is_data() => return Err(fault(&format!("is wrong: {error}"))),
            Err(_) => value.into(),
        };
        let slot = slot(&mut object, path).ok_or_else(|| fault("is given twice"))?;
        *slot = value;
    }
    if object.insert("policy".into(), name.into()).is_some() {
        return Err(Error::policy(name, "`policy` is the name in front of the colon"));
    }
    from_value(Value::Object(object))
}

/// The text between commas that are outside of brackets and quotes.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    text.split(move |c: char| {
        match (c, quoted) {
            _ if std::mem::take(&mut escaped) => {}
            ('\\', true) => escaped = true,
            ('"', _) => quoted = !quoted,
            ('[' | '{', false) => depth += 1,
            (']' | '}', false) => depth = depth.saturating_sub(1),
            (',', false) => return depth == 0,
            _ => {}
        }
        false
    })
    .map(str::trim)
}

/// The place of the setting at `path`; nothing if there is one already.
fn slot<'a>(object: &'a mut Map<String, Value>, path: &str) -> Option<&'a mut Value> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name.trim(), Some(rest)),
        None => (path.trim(), None),
    };
    let Some(rest) = rest else {
        let fresh = !object.contains_key(name);
        return fresh.then(|| object.entry(name).or_insert(Value::Null));
    };
    slot(object.entry(name).or_insert_with(|| Map::new().into()).as_object_mut()?, rest)
}
