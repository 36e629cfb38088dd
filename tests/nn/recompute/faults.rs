//! What fails, and what is as it was afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Result, bail};
use freeze_core::{backward, recompute};

use super::chain::*;

/// `stage`, whose second run does `then` first.
fn second(stage: Stage, then: impl Fn() -> Result<()> + Send + Sync + 'static) -> Stage {
    let runs = AtomicUsize::new(0);
    let both: Stage = Arc::new(move |xs| {
        if runs.fetch_add(1, Ordering::Relaxed) == 1 {
            then()?;
        }
        stage(xs)
    });
    again(vec![both])
}

/// Loss, gradients and all that moves are those of a chain to which nothing happened.
#[track_caller]
fn assert_unharmed(chain: &Chain, before: Vec<u64>) {
    assert_eq!(chain.drawn(), before, "the generators stand elsewhere");
    let plain = mlp(0).expect("a chain");
    plain.loss(&plain.stages).expect("a forward");
    let stages = chain.with(&every(2, 6), again);
    assert_eq!(
        chain.step(&stages, Backward::Ours).expect("a step"),
        plain.step(&plain.stages, Backward::Ours).expect("a step")
    );
}

#[test]
fn an_error_in_the_second_run_comes_to_the_surface() -> Result<()> {
    let chain = mlp(0)?;
    let stages = chain
        .with(&every(1, 6)[2..3], |stages| second(stages[0].clone(), || bail!("the disk is full")));
    let loss = chain.loss(&stages)?;
    let drawn = chain.drawn();
    let error = backward(&loss).expect_err("the stage fails").to_string();
    assert!(error.contains("the disk is full"), "{error}");
    assert_unharmed(&chain, drawn);
    Ok(())
}

#[test]
fn a_panic_in_the_second_run_leaves_nothing_behind() -> Result<()> {
    let chain = mlp(0)?;
    let stages =
        chain.with(&every(1, 6)[2..3], |stages| second(stages[0].clone(), || panic!("on purpose")));
    let loss = chain.loss(&stages)?;
    let drawn = chain.drawn();
    assert!(catch_unwind(AssertUnwindSafe(|| backward(&loss))).is_err());
    assert_unharmed(&chain, drawn);
    Ok(())
}

#[test]
fn another_result_is_refused() -> Result<()> {
    let refused =
        |stages: &[Stage], chain: &Chain, between: &dyn Fn() -> Result<()>| -> Result<()> {
            let loss = chain.loss(stages)?;
            between()?;
            let error = backward(&loss).expect_err("another result").to_string();
            assert!(error.contains("run again it came to another result"), "{error}");
            Ok(())
        };
    let chain = mlp(0)?;
    let nothing = || Ok(());
    // It draws from a generator that nobody rewinds.
    let random: Stage = Arc::new(|xs| recompute(xs, |xs| xs.mul(&xs.rand_like(0.0, 1.0)?)));
    let mut stages = chain.stages.clone();
    stages.insert(3, random);
    refused(&stages, &chain, &nothing)?;
    // It counts.
    let runs = AtomicUsize::new(1);
    let counts: Stage = Arc::new(move |xs| xs * runs.fetch_add(1, Ordering::Relaxed) as f64);
    stages[3] = again(vec![counts]);
    refused(&stages, &chain, &nothing)?;
    // It goes another way.
    let (runs, other) = (AtomicUsize::new(0), mlp(0)?);
    let ways = [chain.stages[3].clone(), other.stages[3].clone()];
    let turns: Stage = Arc::new(move |xs| ways[runs.fetch_add(1, Ordering::Relaxed) % 2](xs));
    stages[3] = again(vec![turns]);
    refused(&stages, &chain, &nothing)?;
    // A weight changes before the backward.
    let weight = chain.vars[6].clone();
    let stages = chain.with(&every(3, 6), again);
    refused(&stages, &chain, &|| weight.set(&(weight.as_tensor() * 1.5)?.detach()))?;
    Ok(())
}

#[test]
fn nan_is_equal_to_nan() -> Result<()> {
    let chain = mlp(0)?;
    chain.vars[4].set(&(chain.vars[4].as_tensor() * f64::NAN)?.detach())?;
    let stages = chain.with(&every(3, 6), again);
    let grads = backward(&chain.loss(&stages)?)?;
    assert!(chain.vars.iter().all(|var| grads.get(var).is_some()));
    Ok(())
}
