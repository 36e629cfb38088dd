//! What ends a run early, and what does not.

use candle_core::{DType, Device, Tensor, Var};
use freeze_core::checkpoint::{Goal, Manager};
use freeze_core::optim::{GradClip, ParamsSgd, Sgd};
use freeze_core::train::{OnNonFinite, Stopped};
use freeze_core::{EarlyStop, Error, Freezable, Result, Training};

use crate::rig::*;

/// A loss whose value, or whose gradients alone, are not finite.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Value(f64),
    Gradient,
}

fn bad_loss(run: &Training<Net>, which: &[u32], bad: Bad) -> candle_core::Result<Tensor> {
    let loss = loss(run, which)?;
    match bad {
        Bad::Value(value) => loss * value,
        // 0 for the loss; infinite for the gradient of a root at 0.
        Bad::Gradient => {
            let weight = run.model().head.weight();
            loss + (weight - weight.detach())?.sqr()?.sum_all()?.sqrt()?
        }
    }
}

#[test]
fn a_loss_or_gradient_that_is_not_finite_moves_nothing() -> Result<()> {
    let bads = [
        Bad::Value(f64::NAN),
        Bad::Value(f64::INFINITY),
        Bad::Value(f64::NEG_INFINITY),
        Bad::Gradient,
    ];
    let policies = [OnNonFinite::Error, OnNonFinite::Skip, OnNonFinite::Stop];
    let clips = [GradClip::None, GradClip::Norm(1.0)];
    for (policy, bad) in policies.into_iter().flat_map(|policy| bads.map(|bad| (policy, bad))) {
        for clip in clips {
            let mut run = plain()?.on_non_finite(policy).clip(clip)?;
            let epoch = run.next_epoch()?.expect("an epoch");
            let mut batches = epoch.shuffled(SAMPLES, SIZE);
            let mut next = || batches.next().expect("a batch");
            run.step(&loss(&run, &next())?)?;
            let which = next();
            // Statistics move with the forward pass.
            let loss_of = bad_loss(&run, &which, bad)?;
            let (before, elapsed) = (weights(&run), run.elapsed());
            let stepped = run.step(&loss_of);
            assert_same(&weights(&run), &before, &format!("{policy:?} {bad:?}"));
            match (policy, stepped) {
                (OnNonFinite::Error, Err(error)) => {
                    let named = match bad {
                        Bad::Value(_) => matches!(error, Error::NonFiniteLoss { batch: 1, .. }),
                        Bad::Gradient => error.to_string().contains("`head.weight`"),
                    };
                    assert!(named, "{error}");
                    assert_eq!(run.elapsed(), elapsed, "not counted");
                    assert!(run.step(&loss(&run, &which)?)?.updated, "the batch again");
                }
                (OnNonFinite::Skip, Ok(step)) => {
                    assert!(!step.updated);
                    assert_eq!(run.elapsed().step, elapsed.step + 1, "counted");
                    assert_eq!(run.left_out(), 1);
                    assert!(run.step(&loss(&run, &next())?)?.updated);
                }
                (OnNonFinite::Stop, Ok(step)) => {
                    assert_eq!(step.stopped, Some(Stopped::NonFinite));
                    assert_eq!(run.step(&loss(&run, &next())?)?.stopped, step.stopped);
                    assert_eq!(run.epoch_end([])?.stopped, step.stopped);
                    assert_eq!(weights(&run).len(), before.len());
                    assert!(run.next_epoch()?.is_none());
                }
                (_, stepped) => panic!("{policy:?} {bad:?}: {stepped:?}"),
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_left_out_is_not_in_the_mean() -> Result<()> {
    let mut run = plain()?.on_non_finite(OnNonFinite::Skip).accumulate(2)?;
    let epoch = run.next_epoch()?.expect("an epoch");
    let mut finite = Vec::new();
    for (at, which) in epoch.shuffled(SAMPLES, SIZE).enumerate() {
        let factor = if at == 1 { f64::NAN } else { 1.0 };
        let step = run.step(&(loss(&run, &which)? * factor)?)?;
        finite.extend((at != 1).then_some(step.loss));
        assert_eq!(step.updated, at % 2 == 1 || at == 4, "the rest of the group is used");
    }
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    assert_eq!(run.epoch_end([])?.loss, mean);
    assert_eq!(run.history().last("train/loss"), Some(mean));
    Ok(())
}

#[test]
fn a_run_that_a_loss_stopped_is_saved_where_it_is() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run =
        plain()?.on_non_finite(OnNonFinite::Stop).checkpoints(Manager::new(folder.path())?);
    let epoch = run.next_epoch()?.expect("an epoch");
    let batches: Vec<Vec<u32>> = epoch.shuffled(SAMPLES, SIZE).collect();
    run.step(&loss(&run, &batches[0])?)?;
    run.step(&bad_loss(&run, &batches[1], Bad::Value(f64::NAN))?)?;
    let saved = run.epoch_end([])?.saved.expect("a checkpoint");
    assert!(run.epoch_end([])?.saved.is_none(), "once");
    let mut later = plain()?;
    later.resume_from(saved)?;
    assert_eq!(later.elapsed(), run.elapsed());
    assert_same(&weights(&later), &weights(&run), "resumed");
    assert_eq!(later.next_epoch()?.map(|epoch| epoch.done), Some(1));
    Ok(())
}

#[derive(Freezable)]
struct One {
    #[freeze(param)]
    slope: Tensor,
}

/// The gradients of the batches before are lost with it, so those batches come again, too.
#[test]
fn a_run_that_a_gradient_stopped_goes_on_from_the_beginning_of_its_step() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let begin = || -> Result<Training<One>> {
        let slope = Var::zeros(1, DType::F64, &Device::Cpu)?.into_inner();
        let sgd = ParamsSgd { lr: 1.0, ..Default::default() };
        let run = Training::new(One { slope })?.optimizer(|vars| Sgd::with_names(vars, sgd))?;
        run.on_non_finite(OnNonFinite::Stop).accumulate(2)?.length(1, 4)
    };
    let loss = |run: &Training<One>, by: f64| (&run.model().slope * by)?.sum_all();
    let mut run = begin()?.checkpoints(Manager::new(folder.path())?);
    run.next_epoch()?;
    let mut sum = 0.0;
    for by in [1.0, 3.0] {
        sum += run.step(&loss(&run, by)?)?.loss;
    }
    run.step(&loss(&run, 5.0)?)?;
    // 0, and infinite in its gradient.
    let slope = run.model().slope.clone();
    let root = (&slope - slope.detach())?.sqr()?.sum_all()?.sqrt()?;
    let step = run.step(&(loss(&run, 7.0)? + root)?)?;
    assert!(step.stopped.is_some() && !step.updated);
    let end = run.epoch_end([])?;
    assert_eq!(end.loss, sum / 2.0, "of the whole step alone");

    let mut later = begin()?;
    later.resume_from(end.saved.expect("a checkpoint"))?;
    let epoch = later.next_epoch()?.expect("the same epoch");
    for by in epoch.remaining([1.0, 3.0, 5.0, 7.0]) {
        later.step(&loss(&later, by)?)?;
    }
    later.epoch_end([])?;
    assert_eq!(later.into_model().slope.to_vec1::<f64>()?, [-2.0 - 6.0]);
    Ok(())
}

#[test]
fn early_stopping() -> Result<()> {
    let lowest = || EarlyStop::new("m", Goal::Lowest);
    let highest = || EarlyStop::new("m", Goal::Highest);
    let rows: [(EarlyStop, &[f64], usize); 7] = [
        (lowest(), &[3., 2., 1., 0.5], 4),
        (lowest(), &[3., 3., 1., 0.5], 2),
        (lowest().patience(2)?, &[3., 4., 2., 2.], 4),
        (lowest().patience(2)?, &[3., 4., 3.5, 2.], 3),
        (highest(), &[3., 2., 5., 6.], 2),
        (highest().min_delta(0.5)?, &[1., 2., 2.5, 6.], 3),
        (lowest().patience(2)?, &[f64::NAN, 1., f64::NAN, f64::NAN], 4),
    ];
    for (early, values, epochs) in rows {
        let mut run = plain()?.stop_early(early.clone());
        let mut done = 0;
        while let Some(epoch) = run.next_epoch()? {
            drive_epoch(&mut run, &epoch)?;
            run.epoch_end([("m", values[epoch.index])])?;
            done += 1;
        }
        assert_eq!(done, epochs, "{early:?} {values:?}");
        let early = done < EPOCHS || run.stopped().is_some();
        assert_eq!(run.stopped(), early.then_some(Stopped::Early));
    }
    assert!(lowest().patience(0).is_err());
    for delta in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(lowest().min_delta(delta).is_err());
    }
    Ok(())
}

#[test]
fn early_stopping_without_its_metric_is_refused_and_the_epoch_can_end_then() -> Result<()> {
    let mut run = plain()?.stop_early(EarlyStop::new("valid/loss", Goal::Lowest));
    let epoch = run.next_epoch()?.expect("an epoch");
    drive_epoch(&mut run, &epoch)?;
    let error = run.epoch_end([("accuracy", 0.5)]).expect_err("no such metric").to_string();
    assert!(error.contains("valid/loss") && error.contains("accuracy"), "{error}");
    assert_eq!((run.elapsed().epoch, run.history().records().len()), (0, 0));
    run.epoch_end([("valid/loss", 0.5)])?;
    assert_eq!(run.elapsed().epoch, 1);
    Ok(())
}
