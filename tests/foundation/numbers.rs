//! Every number that a user can give to plans, schedules and hooks is refused or works: at nothing,
//! below, beyond, tiny, huge, and where it is none.

use freeze_core::policy::Linear;
use freeze_core::{Elapsed, FreezePlan, Freezer, LayerFreezing, LeafState, Result, freeze_layers};

use crate::support::Mlp;

const ODD: [f64; 12] = [
    0.0,
    -0.0,
    f64::MIN_POSITIVE,
    5e-324,
    -5e-324,
    0.5,
    1.0 - f64::EPSILON / 2.0,
    1.0,
    1.0 + f64::EPSILON,
    f64::MAX,
    f64::INFINITY,
    f64::NAN,
];

fn net() -> Freezer<Mlp> {
    Freezer::new(Mlp::new(3, 2).expect("a model")).expect("a freezer")
}

/// Which of the odd numbers `accept` accepts; each refusal names what it is about.
fn accepted(name: &str, accept: impl Fn(f64) -> Result<()>) -> Vec<f64> {
    let accepted = |value: &f64| match accept(*value) {
        Ok(()) => true,
        Err(error) => {
            assert!(error.to_string().starts_with(&format!("`{name}` is ")), "{value}: {error}");
            false
        }
    };
    ODD.into_iter().filter(accepted).collect()
}

#[test]
fn shares_and_scales() {
    let plan = net().plan().clone();
    let below_one = &ODD[..4];
    let scale = |lr_scale| plan.clone().train("layers.0", lr_scale).map(drop);
    let finite = [below_one, &ODD[5..10]].concat();
    assert_eq!(accepted("lr_scale", scale), finite);
    let state = |lr_scale| plan.clone().set(0, LeafState::Trained { lr_scale }).map(drop);
    assert_eq!(accepted("lr_scale", state), finite);
    let start = |start| LayerFreezing::new(start, 1.0).map(drop);
    assert_eq!(accepted("freeze_start", start), [below_one, &ODD[5..7]].concat());
    let unit = [below_one, &ODD[5..8]].concat();
    assert_eq!(accepted("freeze_level", |level| Linear::new(0.5, level).map(drop)), unit);
    let at = |duration| Linear::new(0.5, 1.0)?.at(duration, 3).map(drop);
    assert_eq!(accepted("current_duration", at), unit);
    let applied = |duration| freeze_layers(&mut net(), &mut [], duration, 0.0, 1.0).map(drop);
    assert_eq!(accepted("current_duration", applied), unit);
    // The latest start there is, and depths beyond any model.
    let late = Linear::new(1.0 - f64::EPSILON / 2.0, 1.0).expect("a schedule");
    assert_eq!(late.at(1.0, usize::MAX).expect("a depth").1, 1.0);
    assert_eq!(late.at(0.5, usize::MAX).expect("a depth"), (0, 0.0));
}

#[test]
fn counts() {
    for (n, refused) in [
        (0, None),
        (3, None),
        (4, Some("cannot freeze up to leaf 4: the model has 3 leaves")),
        (usize::MAX, Some("cannot freeze up to leaf 18446744073709551615: the model has 3 leaves")),
    ] {
        let mut by_plan = net().plan().clone();
        let results = [
            net().freeze_front(n, &mut []).map(drop),
            by_plan.freeze_front(n).map(drop),
            FreezePlan::front_frozen(net().whole(), n).map(drop),
            freeze_core::Freezable::freeze_upto(net().whole(), n).map(drop),
        ];
        for result in results {
            assert_eq!(result.err().map(|error| error.to_string()).as_deref(), refused);
        }
    }
    let every = |steps| LayerFreezing::new(0.0, 1.0)?.every_steps(steps).map(drop);
    let error = every(0).expect_err("none").to_string();
    assert_eq!(error, "`steps` is 0, expected at least 1");
    every(usize::MAX).expect("never, but it works");
    for (at, fraction) in [
        (Elapsed::new(0, 0), Err("`epochs` is 0, expected at least 1")),
        (Elapsed::new(0, 0).at_step(1, 2), Ok(0.5)),
        (Elapsed::new(1, 1), Ok(1.0)),
        (Elapsed::new(2, 1), Err("`epoch` is 2, expected at most the total of the run")),
        (
            Elapsed::new(0, 1).at_step(2, 1),
            Err("`step` is 2, expected at most the total of the run"),
        ),
        (Elapsed::new(usize::MAX, usize::MAX), Ok(1.0)),
        (Elapsed::new(0, usize::MAX), Ok(0.0)),
        (
            Elapsed::new(0, 1).at_step(usize::MAX, usize::MAX - 1),
            Err("`step` is 18446744073709551615, expected at most the total of the run"),
        ),
    ] {
        let found = at.fraction().map_err(|error| error.to_string());
        assert_eq!(found, fraction.map_err(String::from), "{at:?}");
    }
}
