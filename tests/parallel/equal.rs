//! Several ranks make the run of one rank with the whole batch.

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::optim::{AdamW, GradClip, Momentum, ParamsSgd, Sgd, lr};
use freeze_core::parallel::Group;
use freeze_core::{LayerFreezing, Result, Training};

use crate::net::*;

#[derive(Clone, Copy, Debug)]
enum Optimizer {
    AdamW,
    Sgd,
    Two,
}

/// Optimizer, batches that are accumulated, clipping, whether a policy freezes, whether all thaw in the middle.
const ROWS: [(Optimizer, usize, GradClip, bool, bool); 5] = [
    (Optimizer::AdamW, 1, GradClip::None, false, false),
    (Optimizer::AdamW, 1, GradClip::Norm(0.05), true, false),
    (Optimizer::Sgd, 3, GradClip::None, true, false),
    (Optimizer::Sgd, 1, GradClip::Value(0.01), true, true),
    (Optimizer::Two, 4, GradClip::Norm(0.05), true, true),
];

type Row = (Optimizer, usize, GradClip, bool, bool);

fn run(row: Row, dtype: DType, group: Option<Group>) -> Result<Training<Net>> {
    let (optimizer, accumulate, clip, freezes, _) = row;
    let adam = ParamsAdamW { lr: 0.01, ..Default::default() };
    let sgd = ParamsSgd { lr: 0.05, momentum: Momentum::Heavy(0.9), ..Default::default() };
    // The ranks begin with other weights, all but the first.
    let seed = group.as_ref().map_or(0, Group::rank) as u64;
    let mut run = Training::new(Net::new(seed, dtype)?)?;
    run = match optimizer {
        Optimizer::AdamW => run.optimizer(|vars| AdamW::with_names(vars, adam))?,
        Optimizer::Sgd => run.optimizer(|vars| Sgd::with_names(vars, sgd))?,
        Optimizer::Two => run
            .optimizer_for("body.**", |vars| Sgd::with_names(vars, sgd))?
            .optimizer(|vars| AdamW::with_names(vars, adam))?,
    };
    run = run.accumulate(accumulate)?.clip(clip)?.rate(lr::cosine(0.1)?).length(EPOCHS, BATCHES)?;
    if freezes {
        run = run.policy(LayerFreezing::new(0.2, 0.8)?.every_steps(3)?);
    }
    Ok(match group {
        Some(group) => run.parallel(group),
        None => run,
    })
}

/// Losses and weights.
fn driven(row: Row, dtype: DType, group: Option<Group>) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut run = run(row, dtype, group)?;
    let losses = drive(&mut run, |run| {
        if row.4 && run.elapsed().step == 4 {
            run.thaw()?;
        }
        Ok(true)
    })?;
    Ok((losses, weights(&run)?))
}

#[test]
fn losses_and_weights_are_those_of_one_rank() -> Result<()> {
    for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        for row in ROWS {
            let (losses, whole) = driven(row, dtype, None)?;
            for size in [1, 2, 3, 4, 5] {
                let ranks: Vec<_> = on_ranks(size, |group| driven(row, dtype, Some(group)));
                let ranks: Vec<_> = ranks.into_iter().collect::<Result<_>>()?;
                for (rank, (own, weights)) in ranks.iter().enumerate() {
                    let apart = distance(&losses, own).max(distance(&whole, weights));
                    assert!(
                        apart < bound,
                        "{row:?} {dtype:?}: rank {rank} of {size} is {apart} off"
                    );
                    assert_eq!(weights, &ranks[0].1, "{row:?}: ranks differ");
                }
                let again = on_ranks(size, |group| driven(row, dtype, Some(group)));
                assert_eq!(
                    ranks,
                    again.into_iter().collect::<Result<Vec<_>>>()?,
                    "{row:?}: reruns"
                );
            }
        }
    }
    Ok(())
}
