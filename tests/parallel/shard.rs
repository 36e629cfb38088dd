//! Optimizer state of which each rank keeps a share.

use std::path::Path;

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::checkpoint::Manager;
use freeze_core::optim::{AdamW, GradClip, Momentum, ParamsSgd, Sgd};
use freeze_core::parallel::{Group, Parallel};
use freeze_core::policy::from_text;
use freeze_core::{LayerFreezing, Result, Training};

use crate::net::*;

#[derive(Clone, Copy)]
struct Row {
    shards: bool,
    momentum: bool,
    clip: GradClip,
    dtype: DType,
}

fn run(row: Row, folder: &Path, group: Option<Group>) -> Result<Training<Net>> {
    let adam = ParamsAdamW { lr: 0.01, ..Default::default() };
    let sgd = ParamsSgd { lr: 0.05, momentum: Momentum::Heavy(0.9), ..Default::default() };
    let mut run = Training::new(Net::new(0, row.dtype)?)?;
    if row.momentum {
        run = run.optimizer_for("body.**", |vars| Sgd::with_names(vars, sgd))?;
    }
    run = run
        .optimizer(|vars| AdamW::with_names(vars, adam))?
        .clip(row.clip)?
        .policy(LayerFreezing::new(0.3, 0.8)?.every_steps(4)?)
        .checkpoints(Manager::new(folder)?.save_every_steps(5)?)
        .length(EPOCHS, BATCHES)?;
    Ok(match group {
        Some(group) if row.shards => run.parallel(Parallel::new(group).shard_optimizer_state()),
        Some(group) => run.parallel(group),
        None => run,
    })
}

/// The bytes of state of all optimizers.
fn state_bytes(run: &Training<Net>) -> usize {
    let adam = |at| run.optimizer_as::<AdamW>(at).map_or(0, AdamW::state_bytes);
    let sgd = run.optimizer_as::<Sgd>(0).map_or(0, Sgd::state_bytes);
    adam(0) + adam(1) + sgd
}

/// The weights after the given step, and the bytes of state on the way.
fn go_on(
    row: Row,
    folder: &Path,
    to: usize,
    group: Option<Group>,
) -> Result<(Vec<f64>, Vec<usize>)> {
    let mut run = run(row, folder, group)?;
    run.resume()?;
    let mut bytes = Vec::new();
    drive(&mut run, |run| {
        bytes.push(state_bytes(run));
        Ok(run.elapsed().step < to)
    })?;
    Ok((weights(&run)?, bytes))
}

fn all(row: Row, folder: &Path, to: usize, size: usize) -> Result<Vec<(Vec<f64>, Vec<usize>)>> {
    on_ranks(size, |group| go_on(row, folder, to, Some(group))).into_iter().collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn the_weights_are_those_of_whole_state_on_every_rank() -> Result<()> {
    let steps = EPOCHS * BATCHES;
    for momentum in [false, true] {
        for clip in [GradClip::None, GradClip::Norm(0.05)] {
            for dtype in [DType::F32, DType::F64, DType::BF16] {
                if dtype == DType::BF16 && clip != GradClip::None && !momentum {
                    // One optimizer clips within its step, and rounds no clipped gradient to bf16.
                    continue;
                }
                let row = Row { shards: true, momentum, clip, dtype };
                for size in [1, 2, 3, 10] {
                    let whole = all(Row { shards: false, ..row }, folder().path(), steps, size)?;
                    let shared = all(row, folder().path(), steps, size)?;
                    for (rank, (whole, shared)) in whole.iter().zip(&shared).enumerate() {
                        assert!(
                            whole.0 == shared.0,
                            "rank {rank} of {size}, {momentum}, {clip:?}, {dtype:?}"
                        );
                    }
                    // At every step the shares are the whole, with freezing in between.
                    for (step, bytes) in whole[0].1.iter().enumerate() {
                        let sum: usize = shared.iter().map(|rank| rank.1[step]).sum();
                        assert_eq!(sum, *bytes, "step {step} of {size} ranks");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_rank_of_two_keeps_about_half() -> Result<()> {
    let row = Row { shards: true, momentum: false, clip: GradClip::None, dtype: DType::F32 };
    let shared = all(row, folder().path(), 3, 2)?;
    // Two moments of 210 numbers, shared to the largest variable of 64.
    let (first, second) = (shared[0].1[0], shared[1].1[0]);
    assert_eq!(first + second, 2 * 210 * 4);
    assert!(first.abs_diff(second) <= 2 * 64 * 4, "{first} and {second}");
    Ok(())
}

#[test]
fn a_checkpoint_holds_the_whole_state_for_any_number_of_ranks_sharded_or_not() -> Result<()> {
    let steps = EPOCHS * BATCHES;
    let row = Row { shards: true, momentum: true, clip: GradClip::Norm(0.05), dtype: DType::F64 };
    let whole = all(Row { shards: false, ..row }, folder().path(), steps, 2)?;
    // From two ranks to two, bit by bit; to three, to three that share nothing, and to one.
    for (size, shards, bound) in [(2, true, 0.0), (3, true, 1e-12), (3, false, 1e-12)] {
        let folder = folder();
        all(row, folder.path(), 15, 2)?;
        let later = all(Row { shards, ..row }, folder.path(), steps, size)?;
        let apart = distance(&whole[0].0, &later[0].0);
        assert!(apart <= bound, "{size} ranks, {shards}: {apart}");
        // Each rank has taken the whole state up, and let go of that of the others.
        let of_last = |ranks: &[(Vec<f64>, Vec<usize>)]| -> usize {
            ranks.iter().filter_map(|rank| rank.1.last()).sum()
        };
        let copies = if shards { 1 } else { size };
        assert_eq!(of_last(&later), copies * of_last(&whole[..1]), "{size} ranks, {shards}");
    }
    let folder = folder();
    all(row, folder.path(), 15, 2)?;
    let apart = distance(&whole[0].0, &go_on(row, folder.path(), steps, None)?.0);
    assert!(apart <= 1e-12, "{apart}");
    Ok(())
}

#[test]
fn a_policy_that_looks_at_updates_is_refused_by_name() {
    let ends: Vec<Result<()>> = on_ranks(2, |group| {
        let mut run = Training::new(Net::new(0, DType::F32)?)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .policy(from_text("grad-es")?)
            .parallel(Parallel::new(group).shard_optimizer_state())
            .length(EPOCHS, BATCHES)?;
        drive(&mut run, |_| Ok(true)).map(|_| ())
    });
    for end in ends {
        let said = end.expect_err("an error").to_string();
        assert!(said.contains("shard_optimizer_state"), "{said}");
    }
}
