//! Policies made of others, from data: what they hold stands under `of`, or under `parts`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::all_trained::AllTrainedSettings;
use super::ext::PolicyExt;
use super::then::Then;
use crate::error::{Error, Result};
use crate::policy::settings::{Boxed, Build, Fault, Listed};

pub(in crate::policy) static LISTED: &[Listed] = &[
    Listed::of::<AllTrainedSettings>(),
    Listed::combinator(
        "then",
        "policies one after the other, each until a share of the run",
        || {
            json!({ "parts": [
            { "policy": "linear", "until": 0.8 },
            { "policy": "all-trained", "scale": 0.1 },
        ] })
        },
        then,
    ),
    Listed::combinator(
        "with-floor",
        "freezes at least a share of the leaves, more from the front",
        || json!({ "share": 0.25, "of": { "policy": "linear" } }),
        |settings, build| with_share(settings, build, |of, share| boxed(of.with_floor(share))),
    ),
    Listed::combinator(
        "with-ceiling",
        "freezes at most a share of the leaves, fewer from the back",
        || json!({ "share": 0.75, "of": { "policy": "linear" } }),
        |settings, build| with_share(settings, build, |of, share| boxed(of.with_ceiling(share))),
    ),
    Listed::combinator(
        "at-most-per-round",
        "freezes at most a share of what is left at once (PipeTransformer's cap)",
        || json!({ "share": 1.0 / 3.0, "of": { "policy": "linear" } }),
        |settings, build| {
            with_share(settings, build, |of, share| boxed(of.at_most_per_round(share)))
        },
    ),
    Listed::combinator(
        "only",
        "applies a policy to the leaves that a pattern matches",
        || json!({ "pattern": "**", "of": { "policy": "linear" } }),
        only,
    ),
    Listed::combinator(
        "min",
        "of several policies, the one that freezes least, leaf by leaf",
        || json!({ "of": [{ "policy": "linear" }, { "policy": "linear", "start": 0.0 }] }),
        |settings, build| several(settings, build, "min", |one, other| Box::new(one.min(other))),
    ),
    Listed::combinator(
        "max",
        "of several policies, the one that freezes most, leaf by leaf",
        || json!({ "of": [{ "policy": "linear" }, { "policy": "linear", "start": 0.0 }] }),
        |settings, build| several(settings, build, "max", |one, other| Box::new(one.max(other))),
    ),
    Listed::combinator(
        "monotone",
        "what a policy froze stays frozen",
        || json!({ "of": { "policy": "linear" } }),
        |settings, build| Ok(Box::new(build(read::<Of>(settings)?.of)?.monotone())),
    ),
    Listed::combinator(
        "every",
        "a policy that decides after every so many steps",
        || json!({ "steps": 1, "of": { "policy": "linear" } }),
        every,
    ),
    Listed::combinator(
        "unfreeze-on",
        "a policy that starts again where the learning rate drops (Egeria)",
        || json!({ "at": [0.5, 0.75], "of": { "policy": "linear" } }),
        unfreeze_on,
    ),
    Listed::combinator(
        "early-stop",
        "ends the run when a policy has frozen everything (GradES)",
        || json!({ "of": { "policy": "linear" } }),
        |settings, build| {
            Ok(Box::new(build(read::<Of>(settings)?.of)?.early_stop_when_all_frozen()))
        },
    ),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    of: Value,
}

fn read<T: DeserializeOwned>(settings: Value) -> Result<T, Fault> {
    Ok(serde_json::from_value(settings)?)
}

fn boxed(policy: Result<impl crate::policy::Policy + Send + 'static>) -> Result<Boxed, Fault> {
    Ok(Box::new(policy?))
}

fn with_share(
    settings: Value,
    build: Build,
    make: fn(Boxed, f64) -> Result<Boxed, Fault>,
) -> Result<Boxed, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Share {
        share: f64,
        of: Value,
    }
    let Share { share, of } = read(settings)?;
    make(build(of)?, share)
}

fn only(settings: Value, build: Build) -> Result<Boxed, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pattern {
        pattern: String,
        of: Value,
    }
    let Pattern { pattern, of } = read(settings)?;
    boxed(build(of)?.only(pattern))
}

fn every(settings: Value, build: Build) -> Result<Boxed, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Steps {
        steps: usize,
        of: Value,
    }
    let Steps { steps, of } = read(settings)?;
    boxed(build(of)?.every(steps))
}

fn unfreeze_on(settings: Value, build: Build) -> Result<Boxed, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct At {
        at: Vec<f64>,
        of: Value,
    }
    let At { at, of } = read(settings)?;
    boxed(build(of)?.unfreeze_on(at))
}

fn several(
    settings: Value,
    build: Build,
    name: &str,
    join: fn(Boxed, Boxed) -> Boxed,
) -> Result<Boxed, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Several {
        of: Vec<Value>,
    }
    let policies: Vec<Boxed> =
        read::<Several>(settings)?.of.into_iter().map(build).collect::<Result<_>>()?;
    let joined = policies.into_iter().reduce(join);
    Ok(joined.ok_or_else(|| Error::policy(name, "`of` is empty; list one policy at least"))?)
}

fn then(settings: Value, build: Build) -> Result<Boxed, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parts {
        parts: Vec<Value>,
    }
    let parts = read::<Parts>(settings)?.parts;
    let (count, mut policies, mut ends) = (parts.len(), Vec::new(), Vec::new());
    for (at, mut part) in parts.into_iter().enumerate() {
        let until = part.as_object_mut().and_then(|part| part.remove("until"));
        match (until.as_ref().map(Value::as_f64), at + 1 == count) {
            (None, true) => {}
            (Some(Some(until)), false) => ends.push(until),
            (Some(_), true) => {
                let why = "the last part has an `until`, but it ends with the run";
                return Err(Error::policy("then", why).into());
            }
            (_, false) => {
                let why = format!(
                    "`until` of part {at} is no number: the share of the run at which it ends"
                );
                return Err(Error::policy("then", why).into());
            }
        }
        policies.push(build(part)?);
    }
    match policies.is_empty() {
        true => Err(Error::policy("then", "`parts` is empty; list one policy at least").into()),
        false => boxed(Then::new(policies, ends)),
    }
}
