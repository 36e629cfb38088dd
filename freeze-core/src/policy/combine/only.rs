//! Only some leaves follow a policy.

use super::overrule::overrule;
use super::ruled::{Asked, Rule};
use crate::error::{Error, Result, near};
use crate::plan::matching;
use crate::policy::Decision;

/// Only the leaves that a pattern matches follow the policy, the others train as in the base plan. The
/// policy sees the whole model: half of the leaves means half of all.
#[derive(Clone, Debug)]
pub struct Only(String);

impl Only {
    /// # Errors
    ///
    /// The pattern cannot be read.
    pub(super) fn new(pattern: String) -> Result<Self> {
        matching(&pattern, [])?;
        Ok(Self(pattern))
    }
}

impl Rule for Only {
    type Memory = ();

    fn apply(&mut self, asked: &Asked<'_>, mut decision: Decision) -> Result<Decision> {
        let paths = || asked.base.paths().iter().map(String::as_str);
        let mut inside = vec![false; asked.base.len()];
        for leaf in matching(&self.0, paths())? {
            inside[leaf] = true;
        }
        if !inside.contains(&true) && !inside.is_empty() {
            let (pattern, near) = (self.0.clone(), near(&self.0, paths()));
            return Err(Error::NoMatch { pattern, near });
        }
        decision.restarts.retain(|&leaf| inside.get(leaf) == Some(&true));
        let outside = inside.iter().zip(asked.base.states()).enumerate();
        let outside = outside.filter(|(_, (inside, _))| !**inside);
        overrule(decision, outside.map(|(leaf, (_, base))| (leaf, (*base, None))).collect())
    }

    fn describe(&self, of: &str) -> String {
        format!("only(pattern={:?}, of={of})", self.0)
    }

    fn memory(&self) {}

    fn remember(&mut self, (): ()) {}
}
