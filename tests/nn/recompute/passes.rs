//! Backward passes that go through one stage within each other, or at the same time on several threads.

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use candle_core::backprop::GradStore;
use candle_core::{DType, Module, Result, Tensor, Var};
use freeze_core::nn::{Dropout, ops::relu};
use freeze_core::{backward, recompute};

use super::flows::{Grads, Rig, random, rig};
use crate::support::flat;

/// Each variable's gradient.
fn each(vars: &[Var], grads: &GradStore) -> Grads {
    vars.iter().map(|var| grads.get(var).map(flat)).collect()
}

/// The gradient from outside waits in the first stage, while the backward of the second goes through it.
#[test]
fn what_a_stage_captures_of_another_is_used_outside_too() -> Result<()> {
    let found = |again: bool, back: fn(&Tensor) -> Result<GradStore>| -> Result<Grads> {
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
    for back in [backward as fn(&Tensor) -> Result<GradStore>, Tensor::backward] {
        assert_eq!(found(true, back)?, found(false, back)?);
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
