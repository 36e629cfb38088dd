//! Which variables a policy gets to see: tied ones, and those that a step does not reach.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, Module};
use freeze_core::optim::{ParamsSgd, Sgd};
use freeze_core::policy::{Needs, from_text};
use freeze_core::train::Stopped;
use freeze_core::{Freezable, Result, Training};

use crate::observed::{Shared, Watch};

/// A weight in two leaves, of which neither is the last, which always trains.
#[derive(Freezable)]
struct Tied {
    table: Linear,
    body: Linear,
    head: Linear,
    last: Linear,
}

impl Tied {
    fn new() -> Result<Self> {
        let var = |by: f32| {
            Var::from_tensor(&(Tensor::ones((3, 3), DType::F32, &Device::Cpu)? * by as f64)?)
        };
        let (table, body, last) = (var(0.5)?, var(0.25)?, var(0.75)?);
        let linear = |weight: &Var| Linear::new(weight.as_tensor().clone(), None);
        Ok(Self {
            table: linear(&table),
            body: linear(&body),
            head: linear(&table),
            last: linear(&last),
        })
    }
}

impl Module for Tied {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        self.last.forward(&self.head.forward(&self.body.forward(&self.table.forward(xs)?)?)?)
    }
}

fn sgd<M: Freezable>(model: M, lr: f64) -> Result<Training<M>> {
    Training::new(model)?
        .optimizer(|vars| Sgd::with_names(vars, ParamsSgd { lr, ..Default::default() }))
}

fn loss(run: &Training<Tied>) -> Result<Tensor> {
    let xs = Tensor::new(&[[0.1f32, 0.2, -0.4]], &Device::Cpu)?;
    Ok(run.model().forward(&xs)?.sqr()?.mean_all()?)
}

fn names(seen: &Shared) -> Vec<(usize, String)> {
    let seen = seen.lock().expect("no panic");
    let tensors = seen.last().expect("seen").tensors();
    tensors.iter().map(|seen| (seen.leaf(), seen.name().to_string())).collect()
}

#[test]
fn a_tied_weight_is_seen_in_each_leaf_that_trains() -> Result<()> {
    const LAST: (usize, &str) = (3, "last.weight");
    let rows: [(&str, &[(usize, &str)]); 4] = [
        ("", &[(0, "table.weight"), (1, "body.weight"), (2, "head.weight"), LAST]),
        ("table", &[(1, "body.weight"), (2, "head.weight"), LAST]),
        ("head", &[(0, "table.weight"), (1, "body.weight"), LAST]),
        ("{table,head}", &[(1, "body.weight"), LAST]),
    ];
    let needs = Needs::GRADIENT | Needs::WEIGHT_CHANGE | Needs::TENSORS;
    for (frozen, expected) in rows {
        let (watch, seen) = Watch::of(needs);
        let mut run = sgd(Tied::new()?, 0.1)?.policy(watch).length(1, 2)?;
        if !frozen.is_empty() {
            let mut plan = run.freezer().plan().clone();
            plan.freeze(frozen)?;
            run.apply(&plan)?;
        }
        let expected: Vec<_> =
            expected.iter().map(|(leaf, name)| (*leaf, name.to_string())).collect();
        run.next_epoch()?;
        assert_eq!(names(&seen), expected, "at the start, `{frozen}`");
        for _ in 0..2 {
            run.step(&loss(&run)?)?;
        }
        assert_eq!(names(&seen), expected, "`{frozen}`");
        let seen = seen.lock().expect("no panic");
        let tensors = seen.last().expect("seen").tensors();
        if let [table, _, head, _] = tensors {
            assert_eq!(table.gradient_norms()?, head.gradient_norms()?);
            assert!(head.is_again() && !table.is_again(), "a sum over leaves has it once");
            assert_eq!(table.weight_change_norms()?, head.weight_change_norms()?);
            assert!(table.weight_change_norms()?.is_some_and(|norms| norms.l1 > 0.0));
        }
    }
    Ok(())
}

/// By its change a policy freezes both leaves of a tied weight, and so the run can end.
#[test]
fn a_policy_of_changes_freezes_a_tied_model() -> Result<()> {
    let policy = from_text("grad-es:tau=1e9,alpha=0,interval=1,patience=1")?;
    let mut run = sgd(Tied::new()?, 1e-3)?.policy(policy).length(1, 9)?;
    run.next_epoch()?;
    let mut stopped = None;
    for _ in 0..9 {
        stopped = stopped.or(run.step(&loss(&run)?)?.stopped);
    }
    assert_eq!(stopped, Some(Stopped::Policy));
    let states = run.freezer().plan().states();
    assert!(states[..3].iter().all(|state| state.is_frozen()), "{states:?}");
    Ok(())
}

#[derive(Freezable)]
struct Heads {
    #[freeze(param)]
    first: Tensor,
    #[freeze(param)]
    second: Tensor,
}

/// Of a head that a batch does not use nothing is known, however the update is made.
#[test]
fn what_a_step_does_not_reach_has_not_changed_by_nothing() -> Result<()> {
    let mut each = Vec::new();
    for within in [false, true] {
        let weight = || Var::ones(2, DType::F32, &Device::Cpu).map(Var::into_inner);
        let (watch, seen) = Watch::of(Needs::WEIGHT_CHANGE);
        let run = sgd(Heads { first: weight()?, second: weight()? }, 0.5)?.policy(watch);
        let run = if within { run.update_in_backward() } else { run };
        let mut run = run.length(1, 4)?;
        run.next_epoch()?;
        let mut shown = Vec::new();
        for batch in 0..4 {
            let head = if batch % 2 == 0 { &run.model().first } else { &run.model().second };
            let loss = freeze_core::nn::ops::mul(head, head)?.sum_all()?;
            run.step(&loss)?;
            shown.push(names(&seen));
        }
        each.push(shown);
    }
    let first = || vec![(0, "first".to_string())];
    let second = || vec![(1, "second".to_string())];
    assert_eq!(each[0], [first(), second(), first(), second()]);
    assert_eq!(each[1], each[0]);
    Ok(())
}
