//! Backward passes that go through one stage within each other, or at the same time on several threads.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use candle_core::backprop::GradStore;
use candle_core::{DType, Module, Result, Tensor, Var};
use freeze_core::nn::Dropout;
use freeze_core::nn::ops::{mul, relu};
use freeze_core::{backward, backward_once, recompute};

use super::flows::{Grads, Rig, random, rig};
use crate::support::flat;

/// Each variable's gradient.
fn each(vars: &[Var], grads: &GradStore) -> Grads {
    vars.iter().map(|var| grads.get(var).map(flat)).collect()
}

type Back = fn(&Tensor) -> Result<GradStore>;
const BACKS: [Back; 3] = [backward, backward_once, Tensor::backward];

/// The gradient from outside waits in the first stage, while the backward of the second goes through it.
#[test]
fn what_a_stage_captures_of_another_is_used_outside_too() -> Result<()> {
    let found = |again: bool, back: Back| -> Result<Grads> {
        let Rig { front, layer, vars } = rig()?;
        let first = move |xs: Tensor| -> Result<(Tensor, Tensor)> {
            let hidden = front.forward(&xs)?;
            Ok((relu(&hidden)?, hidden))
        };
        let xs = random(7, (3, 4), DType::F32);
        let (states, skip) = if again { recompute(xs, first)? } else { first(xs)? };
        let captured = skip.clone();
        let second = move |xs: Tensor| layer.forward(&xs)?.mul(&captured);
        let ys = if again { recompute(states, second)? } else { second(states)? };
        let loss = (ys.sqr()?.sum_all()? + (skip.sum_all()? * 3.0)?)?;
        Ok(each(&vars, &back(&loss)?))
    };
    for back in BACKS {
        assert_eq!(found(true, back)?, found(false, back)?);
    }
    Ok(())
}

/// Two stages come to the same graph by themselves, before or after the backward outside has gone through it, one of
/// them from within a further stage.
#[test]
fn what_stages_capture_is_used_outside_before_and_after() -> Result<()> {
    let found = |again: bool, [last, nested]: [bool; 2], back: Back| -> Result<Grads> {
        let Rig { front, layer, vars } = rig()?;
        let side = mul(&front.forward(&random(7, (3, 4), DType::F32))?, &vars[0].sum_all()?)?;
        let layer = Arc::new(layer);
        let stage = |xs: Tensor| -> Result<Tensor> {
            let (layer, side) = (layer.clone(), relu(&side)?);
            let run = move |xs: Tensor| mul(&layer.forward(&xs)?, &side);
            match (again, nested) {
                (false, _) => run(xs),
                (true, false) => recompute(xs, run),
                (true, true) => {
                    let run = Arc::new(run);
                    recompute(xs, move |xs: Tensor| {
                        let run = run.clone();
                        recompute(relu(&xs)?, move |xs| run(xs))
                    })
                }
            }
        };
        let relu_if_nested = |xs: Tensor| if nested && !again { relu(&xs) } else { Ok(xs) };
        let ys = stage(relu_if_nested(random(9, (3, 4), DType::F32))?)?;
        let ys = stage(relu_if_nested(ys)?)?.sum_all()?;
        let outside = mul(&side, &side)?.sum_all()?;
        let loss = if last { (ys + outside)? } else { (outside + ys)? };
        Ok(each(&vars, &back(&loss)?))
    };
    for settings in [[false, false], [true, false], [false, true], [true, true]] {
        let expected = found(false, settings, backward)?;
        for back in BACKS {
            assert_eq!(found(true, settings, back)?, expected, "{settings:?}");
        }
    }
    Ok(())
}

#[test]
fn heads_on_one_stage_go_back_at_the_same_time() -> Result<()> {
    let found = |again: bool| -> Result<Vec<Grads>> {
        let Rig { front, layer, vars } = rig()?;
        let (runs, another) = (Mutex::new(0), Condvar::new());
        let dropout = Dropout::new(0.5, 3)?;
        let trunk = move |xs: Tensor| -> Result<Tensor> {
            let mut count = runs.lock().expect("no panic");
            *count += 1;
            another.notify_all();
            // Run again, it waits until it is for the other head, too, which may have failed before.
            let alone = |count: &mut i32| *count == 2;
            let waited = another.wait_timeout_while(count, Duration::from_secs(10), alone);
            if waited.expect("no panic").1.timed_out() {
                candle_core::bail!("the trunk ran again for one head alone");
            }
            dropout.forward(&front.forward(&xs)?, true)
        };
        let xs = random(7, (30, 4), DType::F32);
        let ys = if again { recompute(xs, trunk)? } else { trunk(xs)? };
        let heads = [layer.forward(&ys)?.sqr()?.sum_all()?, (ys.sum_all()? * 3.0)?];
        let back = |head: &Tensor| -> Result<Grads> { Ok(each(&vars, &backward(head)?)) };
        thread::scope(|scope| {
            let back = &back;
            let heads: Vec<_> = heads.iter().map(|head| scope.spawn(move || back(head))).collect();
            heads.into_iter().map(|head| head.join().expect("no panic")).collect()
        })
    };
    assert_eq!(found(true)?, found(false)?);
    Ok(())
}

/// A stage whose result is a gradient, as in models of energies and forces, computed by candle's backward or by ours:
/// what that finds of the weights is none of the gradients of the loss.
#[test]
fn a_backward_within_a_stage_gives_the_one_around_it_nothing() -> Result<()> {
    let found = |again: bool, inner: Back, back: Back| -> Result<(Vec<f64>, Grads)> {
        let Rig { front, layer, vars } = rig()?;
        let own = vars[2].clone();
        let stage = move |xs: Tensor| -> Result<Tensor> {
            // The input goes straight into an operation of ours.
            let x = Var::from_tensor(&xs.detach())?;
            let energy = relu(&layer.forward(&mul(&x, &x)?)?)?.sum_all()?;
            let force = inner(&energy)?.get(&x).cloned();
            let Some(force) = force else { candle_core::bail!("the gradient went elsewhere") };
            layer.forward(&(force + xs)?)
        };
        let xs = front.forward(&random(7, (3, 4), DType::F32))?;
        let ys = if again { recompute(xs, stage)? } else { stage(xs)? };
        let loss = (ys.sqr()?.sum_all()? + own.sum_all()?)?;
        let gradients = each(&vars, &back(&loss)?);
        Ok((flat(&ys), gradients))
    };
    for (inner, back) in BACKS.into_iter().flat_map(|inner| BACKS.map(|back| (inner, back))) {
        assert_eq!(found(true, inner, back)?, found(false, Tensor::backward, Tensor::backward)?);
    }
    Ok(())
}

/// It would be met in the middle of the backward, when other parts have been gone through.
#[test]
fn a_stage_that_captures_what_was_released_is_refused_before_the_backward() -> Result<()> {
    let Rig { front, layer, .. } = rig()?;
    let hidden = front.forward(&random(7, (3, 4), DType::F32))?;
    backward_once(&relu(&hidden)?.sum_all()?)?;
    let (captured, layer) = (hidden.clone(), Arc::new(layer));
    let run = {
        let layer = layer.clone();
        move |xs: Tensor| mul(&layer.forward(&xs)?, &captured)
    };
    let refused = recompute(hidden.detach(), run).expect_err("it is released").to_string();
    assert!(refused.contains("a backward has gone through this before"), "{refused}");
    // Detached it is a number like any other.
    let captured = hidden.detach();
    let run = move |xs: Tensor| mul(&layer.forward(&xs)?, &captured);
    backward(&recompute(hidden.detach(), run)?.sum_all()?)?;
    Ok(())
}
