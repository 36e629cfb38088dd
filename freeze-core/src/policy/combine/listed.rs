//! Policies made of others, from data: what they hold stands under `of`, or under `parts`.

use serde::de::{DeserializeOwned, Error as _};
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
        |mut settings, build| Ok(Box::new(build(read(&mut settings, "of")?)?.monotone())),
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
        |mut settings, build| {
            Ok(Box::new(build(read(&mut settings, "of")?)?.early_stop_when_all_frozen()))
        },
    ),
];

/// Takes a setting. There are no others than those with defaults.
fn read<T: DeserializeOwned>(settings: &mut Value, name: &'static str) -> Result<T, Fault> {
    let setting = settings.as_object_mut().and_then(|settings| settings.remove(name));
    let setting = setting.ok_or_else(|| serde_json::Error::missing_field(name))?;
    Ok(serde_json::from_value(setting)?)
}

fn boxed(policy: Result<impl crate::policy::Policy + Send + 'static>) -> Result<Boxed, Fault> {
    Ok(Box::new(policy?))
}

fn with_share(
    mut settings: Value,
    build: Build,
    make: fn(Boxed, f64) -> Result<Boxed, Fault>,
) -> Result<Boxed, Fault> {
    let (share, of) = (read(&mut settings, "share")?, read(&mut settings, "of")?);
    make(build(of)?, share)
}

fn only(mut settings: Value, build: Build) -> Result<Boxed, Fault> {
    let pattern: String = read(&mut settings, "pattern")?;
    let of = read(&mut settings, "of")?;
    boxed(build(of)?.only(pattern))
}

fn every(mut settings: Value, build: Build) -> Result<Boxed, Fault> {
    let (steps, of) = (read(&mut settings, "steps")?, read(&mut settings, "of")?);
    boxed(build(of)?.every(steps))
}

fn unfreeze_on(mut settings: Value, build: Build) -> Result<Boxed, Fault> {
    let at: Vec<f64> = read(&mut settings, "at")?;
    let of = read(&mut settings, "of")?;
    boxed(build(of)?.unfreeze_on(at))
}

fn several(
    mut settings: Value,
    build: Build,
    name: &str,
    join: fn(Boxed, Boxed) -> Boxed,
) -> Result<Boxed, Fault> {
    let policies: Vec<Value> = read(&mut settings, "of")?;
    let policies: Vec<Boxed> = policies.into_iter().map(build).collect::<Result<_>>()?;
    let joined = policies.into_iter().reduce(join);
    Ok(joined.ok_or_else(|| Error::policy(name, "`of` is empty; list one policy at least"))?)
}

fn then(mut settings: Value, build: Build) -> Result<Boxed, Fault> {
    let parts: Vec<Value> = read(&mut settings, "parts")?;
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
