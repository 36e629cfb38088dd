//! Several tensors flow in and out. All numbers are small integers, whose sums are exact in any order.

use candle_core::{DType, Device, Module, Result, Shape, Tensor, Var};
use freeze_core::nn::{Linear, ops::relu};
use freeze_core::{Flow, backward, recompute};

use crate::support::flat;
use crate::support::random as fractions;

/// Tracked and untracked, floats of two types and integers.
#[derive(Clone, Flow)]
struct Hidden {
    states: Tensor,
    wide: Option<Tensor>,
    tokens: Tensor,
    skips: Vec<Tensor>,
}

type Stage = fn(&Linear, Hidden) -> Result<Hidden>;

/// The states are used by two paths, one of which meets the other again.
fn mixes(layer: &Linear, mut xs: Hidden) -> Result<Hidden> {
    let hidden = layer.forward(&xs.states)?;
    let wide = hidden.to_dtype(DType::F64)?.sqr()?;
    xs.skips.push(xs.states.clone());
    xs.states = (relu(&hidden)? + &xs.states)?;
    xs.wide = Some(match xs.wide {
        Some(other) => (wide + other)?,
        None => wide,
    });
    xs.tokens = (xs.tokens + 1.0)?;
    Ok(xs)
}

/// What it makes stands in two places, one is a view of a part, and one is turned.
fn repeats(layer: &Linear, mut xs: Hidden) -> Result<Hidden> {
    xs.states = layer.forward(&xs.states)?;
    xs.skips = vec![xs.states.clone(), xs.states.narrow(1, 1, 2)?, xs.states.t()?];
    Ok(xs)
}

/// The states are looked at and not learned from.
fn cuts(layer: &Linear, mut xs: Hidden) -> Result<Hidden> {
    xs.states = (layer.forward(&xs.states.detach())? * 2.0)?;
    Ok(xs)
}

/// Nothing is done to what flows.
fn passes(_: &Linear, xs: Hidden) -> Result<Hidden> {
    Ok(xs)
}

/// One of the results is not used further on.
fn wastes(layer: &Linear, mut xs: Hidden) -> Result<Hidden> {
    xs.wide = Some(layer.forward(&xs.states)?.to_dtype(DType::F64)?);
    xs.states = relu(&xs.states)?;
    Ok(xs)
}

/// Whole numbers from -1 to 1.
pub(super) fn random(seed: u64, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    (fractions(seed, shape, dtype) * 1.5).and_then(|x| x.round()).expect("numbers")
}

fn uses_all(xs: &Hidden) -> Result<Tensor> {
    let mut sum = (xs.states.sqr()?.sum_all()? * 3.0)?;
    if let Some(wide) = &xs.wide {
        sum = (sum + wide.sum_all()?.to_dtype(DType::F32)?)?;
    }
    for (i, skip) in xs.skips.iter().enumerate() {
        sum = (sum + (skip.sqr()?.sum_all()? * i as f64)?)?;
    }
    Ok(sum)
}

fn uses_states(xs: &Hidden) -> Result<Tensor> {
    xs.states.sqr()?.sum_all()
}

pub(super) struct Rig {
    pub(super) front: Linear,
    pub(super) layer: Linear,
    pub(super) vars: Vec<Var>,
}

pub(super) fn rig() -> Result<Rig> {
    let var = |seed, shape: &[usize]| Var::from_tensor(&random(seed, shape, DType::F32));
    let vars = vec![var(1, &[4, 4])?, var(2, &[4])?, var(3, &[4, 4])?, var(4, &[4])?];
    let layer = |at: usize| {
        Linear::new(vars[at].clone().into_inner(), Some(vars[at + 1].clone().into_inner()))
    };
    Ok(Rig { front: layer(0), layer: layer(2), vars })
}

pub(super) type Grads = Vec<Option<Vec<f64>>>;

/// The loss and each variable's gradient.
fn step(
    stage: Stage,
    loss: fn(&Hidden) -> Result<Tensor>,
    tracked: bool,
    again: bool,
) -> Result<(Vec<f64>, Grads)> {
    let Rig { front, layer, vars } = rig()?;
    let mut states = random(7, (3, 4), DType::F32);
    if tracked {
        states = front.forward(&states)?;
    }
    let tokens = Tensor::new(&[1u32, 2, 3], &Device::Cpu)?;
    let xs = Hidden { states: states.clone(), wide: None, tokens, skips: vec![states] };
    let through = move |xs| stage(&layer, xs);
    // Twice, so that gradients come from a stage of the same kind.
    let ys = match again {
        true => recompute(recompute(xs, through.clone())?, through)?,
        false => through(through(xs)?)?,
    };
    let loss = loss(&ys)?;
    assert_eq!(ys.tokens.dtype(), DType::U32);
    let grads = backward(&loss)?;
    Ok((flat(&loss), vars.iter().map(|var| grads.get(var).map(flat)).collect()))
}

#[test]
fn gradients_come_and_stay_away_as_without() -> Result<()> {
    let stages: [(&str, Stage); 5] = [
        ("mixes", mixes),
        ("repeats", repeats),
        ("cuts", cuts),
        ("passes", passes),
        ("wastes", wastes),
    ];
    for (name, stage) in stages {
        for (used, loss) in [("all", uses_all as fn(&_) -> _), ("states", uses_states)] {
            for tracked in [true, false] {
                let plain = step(stage, loss, tracked, false)?;
                let again = step(stage, loss, tracked, true)?;
                assert_eq!(again, plain, "{name}, {used} used, front tracked: {tracked}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_passed_on_is_the_same_tensor() -> Result<()> {
    let Rig { front, layer, .. } = rig()?;
    let states = front.forward(&random(7, (3, 4), DType::F32))?;
    let xs = (states.clone(), random(8, (3, 4), DType::F32));
    let (passed, constant) = (states.id(), xs.1.id());
    let (new, passed_on, constant_on) =
        recompute(xs, move |(a, b): (Tensor, Tensor)| Ok((layer.forward(&a)?, a, b)))?;
    assert_eq!((passed_on.id(), constant_on.id()), (passed, constant));
    assert_ne!(new.id(), passed);
    Ok(())
}

#[test]
fn what_the_closure_captures_gets_its_gradient() -> Result<()> {
    let found = |again: bool| -> Result<Vec<Vec<f64>>> {
        let Rig { front, layer, vars } = rig()?;
        let side = relu(&front.forward(&random(7, (3, 4), DType::F32))?)?;
        let stage = move |xs: Tensor| layer.forward(&xs)? + &side;
        let xs = random(9, (3, 4), DType::F32);
        let y = if again { recompute(xs, stage)? } else { stage(xs)? };
        let grads = backward(&y.sqr()?.sum_all()?)?;
        Ok(vars.iter().map(|var| flat(grads.get(var).expect("a gradient"))).collect())
    };
    assert_eq!(found(true)?, found(false)?);
    Ok(())
}

#[test]
fn halves_empty_batches_and_scalars_flow() -> Result<()> {
    for (dtype, shape) in [
        (DType::BF16, vec![3, 4]),
        (DType::F16, vec![3, 4]),
        (DType::F64, vec![]),
        (DType::F32, vec![0, 4]),
    ] {
        let grad = |again: bool| -> Result<Vec<f64>> {
            let x = Var::from_tensor(&random(3, shape.clone(), dtype))?;
            let stage = |xs: Tensor| xs.sqr()?.affine(2.0, 1.0);
            let xs = x.as_tensor().clone();
            let y = if again { recompute(xs, stage)? } else { stage(xs)? };
            let grads = backward(&y.sum_all()?)?;
            Ok(flat(grads.get(&x).expect("a gradient")))
        };
        assert_eq!(grad(true)?, grad(false)?, "{dtype:?} {shape:?}");
    }
    Ok(())
}
