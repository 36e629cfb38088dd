//! Where each attribute is allowed, and suggestions for unknown keys.

/// The item that an attribute is on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Place {
    Struct,
    Enum,
    Union,
    Variant,
    Field,
}

const TYPE: &[&str] = &["unit", "stages", "crate", "bound", "frozen", "always", "lr", "no_decay"];
const FIELD: &[&str] =
    &["skip", "param", "rename", "unit", "no_stage", "frozen", "always", "lr", "no_decay"];

/// Other words for keys that are not similar in spelling.
const MEANT: &[(&str, &str)] = &[
    ("freeze", "frozen"),
    ("fixed", "frozen"),
    ("constant", "frozen"),
    ("trained", "always"),
    ("trainable", "always"),
    ("learning_rate", "lr"),
    ("lr_scale", "lr"),
    ("rate", "lr"),
    ("wd", "no_decay"),
    ("weight_decay", "no_decay"),
    ("decay", "no_decay"),
    ("no_wd", "no_decay"),
    ("no_weight_decay", "no_decay"),
    ("ignore", "skip"),
    ("name", "rename"),
];

impl Place {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Struct => "a struct",
            Self::Enum => "an enum",
            Self::Union => "a union",
            Self::Variant => "a variant",
            Self::Field => "a field",
        }
    }

    /// The keys that are allowed here.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Struct | Self::Enum | Self::Union => TYPE,
            Self::Variant => &[],
            Self::Field => FIELD,
        }
    }
}

/// The place where `key` is allowed, if it is a known key.
pub(super) fn home(key: &str) -> Option<&'static str> {
    match (FIELD.contains(&key), TYPE.contains(&key)) {
        (false, true) if key == "stages" => Some("on a struct"),
        (true, true) => Some("on a field or on the type"),
        (true, false) => Some("on a field"),
        (false, true) => Some("on the type"),
        (false, false) => None,
    }
}

/// The message about an unknown `key`.
pub(super) fn unknown(key: &str, place: Place) -> String {
    if place.keys().is_empty() {
        return format!("unknown freeze attribute `{key}`: {} takes none", place.word());
    }
    let hint = match near(key, place) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => String::new(),
    };
    let known: Vec<String> = place.keys().iter().map(|known| format!("`{known}`")).collect();
    format!("unknown freeze attribute `{key}`, expected one of {}{hint}", known.join(", "))
}

fn near(key: &str, place: Place) -> Option<&'static str> {
    let meant = MEANT.iter().find(|(word, known)| *word == key && place.keys().contains(known));
    if let Some((_, known)) = meant {
        return Some(known);
    }
    let near = place.keys().iter().map(|known| (strsim::jaro_winkler(key, known), *known));
    let best = near.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score > 0.7).map(|(_, known)| known)
}
