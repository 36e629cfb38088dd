//! Settings of policies as plain data.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Policy;
use crate::error::{Error, Result};

/// The settings of a policy: plain data with serde, from which the policy is made.
pub trait Settings: Serialize + DeserializeOwned + Default {
    /// The name in files and on command lines, such as `auto-freeze`.
    const NAME: &'static str;
    /// What it goes by.
    const FAMILY: Family;
    /// What it does, in one line.
    const ABOUT: &'static str;
    /// The policy that is made.
    type Policy: Policy + Send + 'static;

    /// Makes the policy.
    ///
    /// # Errors
    ///
    /// A setting is outside its range.
    fn policy(self) -> Result<Self::Policy>;
}

/// `name(setting=value, ..)`, with all settings in alphabetical order, each value as `text` writes it.
pub(crate) fn described_by<S: Settings>(settings: &S, text: impl Fn(&Value) -> String) -> String {
    let values = serde_json::to_value(settings).unwrap_or_default();
    with_values(S::NAME, &values, &text)
}

fn with_values(name: &str, values: &Value, text: &dyn Fn(&Value) -> String) -> String {
    let values = values.as_object().into_iter().flatten();
    let values: Vec<String> =
        values.map(|(name, value)| format!("{name}={}", text(value))).collect();
    format!("{name}({})", values.join(", "))
}

/// As [`described_by`], with values as JSON.
pub(crate) fn described<S: Settings>(settings: &S) -> String {
    described_by(settings, Value::to_string)
}

/// What a policy goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Time alone.
    Time,
    /// What training shows.
    Signal,
    /// What a plan costs.
    Budget,
    /// Whose turn it is.
    Rotating,
    /// Other policies.
    Combinator,
}

/// A policy of the library, by name.
pub struct Listed {
    /// The name in files and on command lines.
    pub name: &'static str,
    /// What it goes by.
    pub family: Family,
    /// What it does, in one line.
    pub about: &'static str,
    defaults: fn() -> Value,
    build: fn(Value, Build) -> Result<Boxed, Fault>,
}

/// A policy of any type.
pub type Boxed = Box<dyn Policy + Send>;

/// Makes a policy from settings that name it: what a policy made of others makes them with.
pub(super) type Build = fn(Value) -> Result<Boxed>;

/// Why settings were not accepted.
pub(super) enum Fault {
    /// They could not be read.
    Unread(serde_json::Error),
    /// They were read and refused.
    Refused(Error),
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Unread(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Listed {
    pub(crate) const fn of<S: Settings>() -> Self {
        Self {
            name: S::NAME,
            family: S::FAMILY,
            about: S::ABOUT,
            defaults: || serde_json::to_value(S::default()).unwrap_or_default(),
            build: |value, _| {
                let settings: S = serde_json::from_value(value)?;
                Ok(Box::new(settings.policy()?))
            },
        }
    }

    /// A policy made of others, which `build` makes with the function that it is given.
    pub(super) const fn combinator(
        name: &'static str,
        about: &'static str,
        defaults: fn() -> Value,
        build: fn(Value, Build) -> Result<Boxed, Fault>,
    ) -> Self {
        Self { name, family: Family::Combinator, about, defaults, build }
    }

    /// The default settings, as an object of JSON.
    pub fn defaults(&self) -> Value {
        (self.defaults)()
    }

    pub(super) fn build(&self, settings: Value, inner: Build) -> Result<Boxed, Fault> {
        (self.build)(settings, inner)
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed").field("name", &self.name).finish_non_exhaustive()
    }
}
