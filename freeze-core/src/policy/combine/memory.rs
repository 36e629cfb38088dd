//! States of policies within the state of another.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::policy::Policy;

/// A policy's own state, and the states of the policies in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    own: Value,
    inner: Vec<Value>,
}

impl Saved {
    pub(super) fn of<'a>(
        own: impl Serialize,
        policies: impl IntoIterator<Item = &'a dyn Policy>,
    ) -> Value {
        let (own, mut inner) = (serde_json::to_value(own).unwrap_or_default(), Vec::new());
        for policy in policies {
            inner.push(policy.state());
        }
        serde_json::to_value(Self { own, inner }).unwrap_or_default()
    }

    /// The own state, after the states of the inner policies are loaded; after an error all of them
    /// are as before.
    pub(super) fn load<T: DeserializeOwned>(
        state: &Value,
        describe: impl Fn() -> String,
        inner: &mut [&mut dyn Policy],
    ) -> Result<T> {
        let Self { own, inner: states } = read(state.clone(), &describe)?;
        let own = read(own, &describe)?;
        load(&states, &describe, inner)?;
        Ok(own)
    }
}

fn read<T: DeserializeOwned>(state: Value, describe: &dyn Fn() -> String) -> Result<T> {
    serde_json::from_value(state).map_err(|error| fault(describe, error.to_string()))
}

fn load(
    states: &[Value],
    describe: &dyn Fn() -> String,
    policies: &mut [&mut dyn Policy],
) -> Result<()> {
    if states.len() != policies.len() {
        let (theirs, ours) = (states.len(), policies.len());
        let why = format!("it holds the states of {theirs} policies, not of {ours}");
        return Err(fault(describe, why));
    }
    let mut before = Vec::new();
    for (policy, state) in policies.iter_mut().zip(states) {
        before.push(policy.state());
        if let Err(refused) = policy.load_state(state) {
            for (policy, state) in policies.iter_mut().zip(&before) {
                policy.load_state(state)?;
            }
            return Err(refused);
        }
    }
    Ok(())
}

fn fault(describe: &dyn Fn() -> String, why: String) -> Error {
    Error::PolicyState { policy: describe(), why }
}
