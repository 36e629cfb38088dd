//! Runs over whatever carries the ranks: threads, or processes.

use std::sync::Arc;

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::optim::{AdamW, GradClip};
use freeze_core::parallel::{Collective as _, Group, Parallel, Threads};
use freeze_core::{LayerFreezing, Result, Training};

use crate::net::*;
use crate::ranks::Rank;

fn run(ranks: impl Into<Parallel>, seed: u64) -> Result<Training<Net>> {
    Training::new(Net::new(0, DType::F64)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW { lr: 0.01, ..Default::default() }))?
        .policy(LayerFreezing::new(0.2, 0.8)?.every_steps(4)?)
        .clip(GradClip::Norm(0.1))?
        .seed(seed)
        .parallel(ranks)
        .length(EPOCHS, BATCHES)
}

/// Losses and weights of a whole run.
fn whole(ranks: impl Into<Parallel>) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut run = run(ranks, 0)?;
    Ok((drive(&mut run, |_| Ok(true))?, weights(&run)?))
}

fn alone() -> Rank {
    let rank = Threads::ranks(1).expect("one").remove(0);
    Rank::new(Arc::new(rank))
}

pub fn the_run_is_that_of_one_rank_and_comes_again(rank: Rank) {
    let one = whole(alone()).expect("one rank");
    let all = whole(rank.clone()).expect("all ranks");
    assert!(distance(&one.0, &all.0) < 1e-12 && distance(&one.1, &all.1) < 1e-12);
    assert_eq!(all, whole(rank).expect("once more"));
}

pub fn gradients_sent_within_the_backward_are_those_sent_after_it(rank: Rank) {
    let after = whole(rank.clone()).expect("after");
    let within = Parallel::new(Group::new(rank)).within_backward(100).expect("bytes");
    let within = whole(within).expect("within");
    assert!(distance(&after.0, &within.0) < 1e-12 && distance(&after.1, &within.1) < 1e-12);
}

/// The error is on every rank, and the ranks can go on to another run.
pub fn another_seed_is_refused_by_name(rank: Rank) {
    if rank.size() == 1 {
        return;
    }
    let last = rank.size() - 1;
    let seed = u64::from(rank.rank() == last);
    let error = run(rank.clone(), seed).and_then(|mut run| drive(&mut run, |_| Ok(true)));
    let error = error.expect_err("another seed").to_string();
    let expected = format!("rank {last}: the seed is 1, on rank 0 it is 0");
    assert!(error.starts_with(&expected), "{error}");
    drop(whole(rank).expect("another run"));
}
