//! Rank 0 saves and resumes for all.

use std::path::Path;

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::checkpoint::Manager;
use freeze_core::optim::AdamW;
use freeze_core::parallel::Group;
use freeze_core::{LayerFreezing, Result, Training};

use crate::net::*;

fn run(folder: &Path, seed: u64) -> Result<Training<Net>> {
    Training::new(Net::new(seed, DType::F64)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW { lr: 0.01, ..Default::default() }))?
        .policy(LayerFreezing::new(0.2, 0.8)?.every_steps(4)?)
        .checkpoints(Manager::new(folder)?.save_every_steps(1)?)
        .length(EPOCHS, BATCHES)
}

/// Goes on from the folder to the given step, and returns the weights.
fn go_on(folder: &Path, to: usize, group: Option<Group>) -> Result<Vec<f64>> {
    let seed = group.as_ref().map_or(0, Group::rank) as u64;
    let mut run = run(folder, seed)?;
    if let Some(group) = group {
        run = run.parallel(group);
    }
    run.resume()?;
    drive(&mut run, |run| Ok(run.elapsed().step < to))?;
    Ok(weights(&run)?)
}

#[test]
fn a_run_goes_on_from_every_step_bit_by_bit_and_with_other_numbers_of_ranks() -> Result<()> {
    let all = EPOCHS * BATCHES;
    let folder = tempfile::tempdir().expect("a folder");
    let whole = on_ranks(2, |group| go_on(folder.path(), all, Some(group)));
    let whole: Vec<_> = whole.into_iter().collect::<Result<_>>()?;
    for stop in [1, 4, 9, 10, 11, 19, 29] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for rank in on_ranks(2, |group| go_on(path, stop, Some(group))) {
            rank?;
        }
        if stop == 11 {
            // From two ranks to three, to one, and to two again.
            for rank in on_ranks(3, |group| go_on(path, 15, Some(group))) {
                rank?;
            }
            go_on(path, 20, None)?;
        }
        for rank in on_ranks(2, |group| go_on(path, all, Some(group))) {
            let (rank, apart) = (rank?, if stop == 11 { 1e-12 } else { 0.0 });
            let distance = distance(&rank, &whole[0]);
            assert!(distance <= apart, "stopped after {stop}: {distance}");
        }
    }
    Ok(())
}

/// Of three times 0.7 the third is not 0.7, which would make the second of two equal epochs the better one.
#[test]
fn the_mean_of_the_same_number_is_that_number() -> Result<()> {
    let histories = on_ranks(3, |group| {
        let mut run = Training::new(Net::new(0, DType::F32)?)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .parallel(group)
            .length(1, 1)?;
        run.next_epoch()?;
        run.step(&loss(&run, 0, 0..SIZE)?)?;
        run.epoch_end([("accuracy", 0.7)])?;
        Ok(run.history().last("accuracy"))
    });
    for accuracy in histories.into_iter().collect::<Result<Vec<_>>>()? {
        assert_eq!(accuracy, Some(0.7));
    }
    Ok(())
}

#[test]
fn one_file_is_written_and_metrics_are_means_over_the_ranks() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let histories = on_ranks(3, |group| {
        let mut run = run(folder.path(), 0)?.parallel(group);
        drive(&mut run, |_| Ok(true))?;
        let records = run.history().records();
        let of = |name: &str| records.iter().filter(|r| r.name == name).map(|r| r.value).collect();
        Ok([of("rank"), of("train/loss")])
    });
    let histories: Vec<[Vec<f64>; 2]> = histories.into_iter().collect::<Result<_>>()?;
    assert_eq!(histories[0][0], [1.0; EPOCHS]);
    assert!(histories.iter().all(|history| *history == histories[0]));
    Ok(())
}
