//! States of policies within the state of another.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::policy::Policy;

/// A policy's own state, and the states of the policies in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved<T> {
    pub(super) own: T,
    pub(super) inner: Vec<Value>,
}

impl<T: Serialize + DeserializeOwned> Saved<T> {
    pub(super) fn of<'a>(own: T, inner: impl IntoIterator<Item = &'a dyn Policy>) -> Value {
        let inner = inner.into_iter().map(|policy| policy.state()).collect();
        serde_json::to_value(Self { own, inner }).unwrap_or_default()
    }

    /// The own state, after the states of the inner policies are loaded; after an error all of them
    /// are as before.
    pub(super) fn load(
        state: &Value,
        describe: impl Fn() -> String,
        inner: &mut [&mut dyn Policy],
    ) -> Result<T> {
        let fault = |why: String| Error::PolicyState { policy: describe(), why };
        let saved = Self::deserialize(state).map_err(|error| fault(error.to_string()))?;
        if saved.inner.len() != inner.len() {
            let (theirs, ours) = (saved.inner.len(), inner.len());
            return Err(fault(format!("it holds the states of {theirs} policies, not of {ours}")));
        }
        let mut before = Vec::new();
        for (policy, state) in inner.iter_mut().zip(&saved.inner) {
            before.push(policy.state());
            if let Err(refused) = policy.load_state(state) {
                for (policy, state) in inner.iter_mut().zip(&before) {
                    policy.load_state(state)?;
                }
                return Err(refused);
            }
        }
        Ok(saved.own)
    }
}
