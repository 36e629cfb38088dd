//! Settings of policies as plain data.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Policy;
use crate::error::Result;

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
    build: fn(Value) -> Result<Boxed, Fault>,
}

/// A policy of any type.
pub type Boxed = Box<dyn Policy + Send>;

/// Why settings were not accepted.
pub(crate) enum Fault {
    /// They could not be read.
    Unread(serde_json::Error),
    /// They were read and refused.
    Refused(crate::error::Error),
}

impl Listed {
    pub(crate) const fn of<S: Settings>() -> Self {
        Self {
            name: S::NAME,
            family: S::FAMILY,
            about: S::ABOUT,
            defaults: || serde_json::to_value(S::default()).unwrap_or_default(),
            build: |value| {
                let settings: S = serde_json::from_value(value).map_err(Fault::Unread)?;
                Ok(Box::new(settings.policy().map_err(Fault::Refused)?))
            },
        }
    }

    /// The default settings, as an object of JSON.
    pub fn defaults(&self) -> Value {
        (self.defaults)()
    }

    pub(crate) fn build(&self, settings: Value) -> Result<Boxed, Fault> {
        (self.build)(settings)
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed").field("name", &self.name).finish_non_exhaustive()
    }
}
