//! What travels.

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::optim::AdamW;
use freeze_core::parallel::{Group, Parallel};
use freeze_core::{Result, Training};

use crate::net::*;

fn run(group: Group, frozen: usize, halves: bool) -> Result<Training<Net>> {
    let ranks = Parallel::new(group);
    let mut run = Training::new(Net::new(0, DType::F32)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .parallel(if halves { ranks.bf16() } else { ranks })
        .length(1, BATCHES)?;
    run.freeze_front(frozen)?;
    Ok(run)
}

/// The bytes of gradients that each rank sends in a step.
fn bytes_of_a_step(frozen: usize, halves: bool) -> Result<Vec<u64>> {
    let sent = on_ranks(2, |group| {
        let mut run = run(group.clone(), frozen, halves)?;
        let mut sent = Vec::new();
        drive(&mut run, |_| {
            sent.push(group.traffic().reduced);
            Ok(true)
        })?;
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] == sent[0]), "{sent:?}");
        Ok(sent[0])
    });
    sent.into_iter().collect()
}

#[test]
fn only_gradients_of_what_trains_are_sent() -> Result<()> {
    // Leaves of 48, 72, 72 and 18 numbers, two variables each, and a number for each variable.
    for (frozen, numbers) in [(0, 210 + 8), (1, 162 + 6), (2, 90 + 4), (3, 18 + 2)] {
        assert_eq!(bytes_of_a_step(frozen, false)?, [4 * numbers; 2], "{frozen} frozen");
        assert_eq!(bytes_of_a_step(frozen, true)?, [2 * numbers; 2], "{frozen} frozen, in bf16");
    }
    Ok(())
}

#[test]
fn gradients_in_bf16_are_rounded_twice() -> Result<()> {
    let weights_of = |halves| -> Result<Vec<Vec<f64>>> {
        let ranks = on_ranks(3, |group| {
            let mut run = run(group, 1, halves)?;
            drive(&mut run, |_| Ok(true))?;
            Ok(weights(&run)?)
        });
        ranks.into_iter().collect()
    };
    let (exact, rounded) = (weights_of(false)?, weights_of(true)?);
    let apart = distance(&exact[0], &rounded[0]);
    assert!(apart > 0.0 && apart < 1e-2, "{apart}");
    assert!(rounded.iter().all(|rank| *rank == rounded[0]));
    Ok(())
}

#[test]
fn ranks_without_a_share_make_the_update_of_the_others() -> Result<()> {
    // Three samples in the batch, for four ranks.
    let whole = |group: Option<Group>| -> Result<Vec<f64>> {
        let mut run = Training::new(Net::new(0, DType::F64)?)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .accumulate(2)?
            .length(1, 4)?;
        let (mut rank, mut size) = (0, 1);
        if let Some(group) = group {
            (rank, size) = (group.rank(), group.size());
            run = run.parallel(group);
        }
        while run.next_epoch()?.is_some() {
            for batch in 0..4 {
                let samples = share(rank, size, if batch == 3 { 3 } else { SIZE });
                match samples.len() {
                    0 => run.step_without_batch()?,
                    len => {
                        let loss = loss(&run, batch, samples)?;
                        run.step_of(&loss, len)?
                    }
                };
            }
            run.epoch_end([])?;
        }
        Ok(weights(&run)?)
    };
    let alone = whole(None)?;
    for rank in on_ranks(4, |group| whole(Some(group))) {
        let apart = distance(&alone, &rank?);
        assert!(apart < 1e-12, "{apart}");
    }
    Ok(())
}
