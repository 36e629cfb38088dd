//! Calls at odd moments: twice, in the middle, after a refusal, on another thread, with nothing to do.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device};
use candle_nn::{Linear, Optimizer, VarBuilder, linear};
use freeze_core::checkpoint::Manager;
use freeze_core::init::Seeded;
use freeze_core::nn::ops::mul;
use freeze_core::optim::{AdamW, PerParam};
use freeze_core::train::{OnNonFinite, Stopped};
use freeze_core::{Elapsed, Freezable, LayerFreezing, MetricSink, Result, Training};

use crate::rig::*;

/// A refused resume in the middle of a step, and going on; going back to a save of one's own, twice.
#[test]
fn what_is_gathered_outlives_a_refusal_and_comes_back_with_a_save() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (folder.path().join("own"), folder.path().join("other"));
    let mut stranger = plain()?;
    stranger.next_epoch()?;
    stranger.save(&other)?;
    let mut whole = Rig::new(3)?;
    whole.go_on(|_| Ok(true))?;

    let mut rig = Rig::new(3)?;
    let mut batch = 0;
    rig.go_on(|rig| {
        batch += 1;
        if batch == 3 {
            rig.run.save(&own)?;
            let refused = rig.run.resume_from(&other).expect_err("one optimizer for two");
            assert!(refused.to_string().contains("optimizers"), "{refused}");
        }
        Ok(batch < 9)
    })?;
    for _ in 0..2 {
        rig.run.resume_from(&own)?;
    }
    assert_eq!(rig.run.elapsed(), Elapsed::new(0, EPOCHS).at_step(1, 3 * EPOCHS));
    rig.go_on(|_| Ok(true))?;
    assert_same(&weights(&rig.run), &weights(&whole.run), "after going back twice");
    assert_eq!(rig.run.history(), whole.run.history());
    Ok(())
}

/// The run changes its thread between any two batches.
#[test]
fn another_thread_for_every_batch() -> Result<()> {
    let mut whole = plain()?;
    drive(&mut whole)?;
    let mut run = plain()?;
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(SAMPLES, SIZE) {
            let stepped = std::thread::spawn(move || {
                let loss = loss(&run, &which).expect("a loss");
                run.step(&loss).expect("a step");
                run
            });
            run = stepped.join().expect("no panic");
        }
        run.epoch_end([])?;
        assert!(run.epoch_end([]).is_err(), "twice");
    }
    assert_same(&weights(&run), &weights(&whole), "on many threads");
    Ok(())
}

#[test]
fn what_cannot_be_saved_is_refused_by_a_resume_that_finds_nothing() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = Training::new(Net::new(1)?)?
        .optimizer(|vars| PerParam::<candle_nn::AdamW>::with_names(vars, Default::default()))?
        .checkpoints(Manager::new(folder.path())?)
        .length(1, 1)?;
    for _ in 0..2 {
        let error = run.resume().expect_err("it hides its state").to_string();
        assert!(error.contains("hides its state"), "{error}");
    }
    assert!(run.next_epoch().is_err());
    Ok(())
}

#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<usize>>>);

impl MetricSink for Ends {
    fn record(&mut self, _: &str, _: f64, elapsed: Elapsed) -> Result<()> {
        self.0.lock().expect("no panic").push(elapsed.epoch);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.0.lock().expect("no panic").push(0);
        Ok(())
    }
}

#[test]
fn a_run_that_is_given_more_epochs_ends_once_more() -> Result<()> {
    let ends = Ends::default();
    let mut run = plain()?.length(1, BATCHES)?.metrics(ends.clone());
    drive(&mut run)?;
    assert!(run.next_epoch()?.is_none() && run.next_epoch()?.is_none());
    run = run.length(2, BATCHES)?;
    drive(&mut run)?;
    assert_eq!(*ends.0.lock().expect("no panic"), [1, 0, 2, 0]);
    Ok(())
}

#[test]
fn sinks_hear_of_an_end_by_a_loss_that_is_no_number() -> Result<()> {
    let ends = Ends::default();
    let mut run = plain()?.on_non_finite(OnNonFinite::Stop).metrics(ends.clone());
    run.next_epoch()?;
    let nan = (loss(&run, &[0, 1])? * f64::NAN)?;
    assert_eq!(run.step(&nan)?.stopped, Some(Stopped::NonFinite));
    assert!(run.next_epoch()?.is_none() && run.next_epoch()?.is_none());
    assert_eq!(*ends.0.lock().expect("no panic"), [0]);
    Ok(())
}

/// Two runs of one model: what one trains the other sees, and neither takes the other for its own.
#[test]
fn two_runs_over_the_same_weights() -> Result<()> {
    #[derive(Freezable)]
    struct Pair {
        body: Linear,
        head: Linear,
    }
    let vb: VarBuilder<'_> = Seeded::builder(1, DType::F32, &Device::Cpu);
    let (body, head) = (linear(2, 2, vb.pp("body"))?, linear(2, 2, vb.pp("head"))?);
    let run = |frozen: &str| -> Result<Training<Pair>> {
        let mut run = Training::new(Pair { body: body.clone(), head: head.clone() })?
            .optimizer(|vars| AdamW::with_names(vars, params()))?
            .length(1, 2)?;
        let mut plan = run.freezer().plan().clone();
        plan.freeze(frozen)?;
        run.apply(&plan)?;
        run.next_epoch()?;
        Ok(run)
    };
    let mut runs = [run("body")?, run("head")?];
    let bits = |layer: &Linear| layer.weight().flatten_all()?.to_vec1::<f32>();
    for _ in 0..2 {
        for at in 0..2 {
            let before = [bits(&body)?, bits(&head)?];
            let net = runs[at].model();
            let loss = (net.body.weight() * net.head.weight())?.sqr()?.mean_all()?;
            runs[at].step(&loss)?;
            let after = [bits(&body)?, bits(&head)?];
            assert_eq!(after[at], before[at], "the frozen half stays");
            assert_ne!(after[1 - at], before[1 - at], "the other moves, in both runs");
        }
    }
    Ok(())
}

#[test]
fn a_model_without_parameters_and_a_policy_with_nothing_to_freeze() -> Result<()> {
    #[derive(Freezable)]
    struct Empty {
        layers: Vec<Linear>,
    }
    let mut run = Training::new(Empty { layers: Vec::new() })?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .policy(LayerFreezing::new(0.0, 1.0)?)
        .length(1, 1)?;
    run.next_epoch()?;
    let alone = candle_core::Tensor::new(1f32, &Device::Cpu)?;
    let error = run.step(&alone).expect_err("nothing to train").to_string();
    assert!(error.contains("no variables at all"), "{error}");
    Ok(())
}

/// A penalty on all weights gives frozen ones a gradient, and candle's optimizer knows no plan.
#[test]
fn what_is_frozen_stays_whatever_the_optimizer() -> Result<()> {
    let rows: [fn(Training<Net>) -> Training<Net>; 2] = [|run| run, Training::update_in_backward];
    for change in rows {
        let run = Training::new(Net::new(1)?)?
            .optimizer(|vars| {
                let vars = vars.into_iter().map(|var| var.var).collect();
                Ok(candle_nn::SGD::new(vars, 0.1)?)
            })?
            .length(1, 2)?;
        let mut run = change(run);
        run.freeze_front(1)?;
        run.next_epoch()?;
        let before = weights(&run);
        for which in [[0, 1], [2, 3]] {
            let mut sum = loss(&run, &which)?;
            for (_, var) in run.freezer().named_vars() {
                sum = (sum + var.sqr()?.sum_all()?)?;
            }
            run.step(&sum)?;
        }
        let after = weights(&run);
        assert_eq!(after[..2], before[..2], "the stem");
        assert_ne!(after.last(), before.last(), "the head");
    }
    Ok(())
}

/// One loss over two models, each in a run of its own, the second of which steps on a thread of its own.
#[test]
fn a_loss_that_two_runs_share_is_stepped_by_both_if_the_first_keeps_its_graph() -> Result<()> {
    for kept in [true, false] {
        let first = if kept { plain()?.retain_graph() } else { plain()? };
        let (mut first, mut second) = (first, plain()?);
        first.next_epoch()?;
        second.next_epoch()?;
        let square = |run: &Training<Net>| {
            let weight = run.model().head.weight();
            mul(weight, weight)?.sum_all()
        };
        let joint = (square(&first)? + square(&second)?)?;
        let before = weights(&second);
        first.step(&joint)?;
        let stepped = std::thread::scope(|scope| scope.spawn(|| second.step(&joint)).join());
        let stepped = stepped.expect("no panic");
        assert_eq!(stepped.is_ok(), kept, "{stepped:?}");
        if !kept {
            assert_same(&weights(&second), &before, "refused");
            second.step(&square(&second)?)?;
        }
        assert_same(&weights(&second), &weights(&first), "the same square of the same weights");
    }
    Ok(())
}

/// Of a loss of candle's operations alone there is nothing to release; a refusal between two halves of an update that
/// are saved and resumed.
#[test]
fn what_holds_nothing_is_stepped_again_and_a_refusal_outlives_a_save() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("half");
    let mut ends = Vec::new();
    for refused in [false, true] {
        let mut run = plain()?.accumulate(2)?;
        run.next_epoch()?;
        let plain_loss = run.model().head.weight().sqr()?.mean_all()?;
        run.step(&plain_loss)?;
        run.step(&plain_loss)?;
        let weight = run.model().head.weight();
        let ours = mul(weight, weight)?.sum_all()?;
        run.step(&ours)?;
        if refused {
            run.step(&ours).expect_err("it is released");
            run.save(&path)?;
            run.resume_from(&path)?;
            run.next_epoch()?;
            run.step(&ours).expect_err("it still is");
        }
        run.step(&run.model().head.weight().sqr()?.mean_all()?)?;
        ends.push(weights(&run));
    }
    assert_same(&ends[1], &ends[0], "after refusals and a resume");
    Ok(())
}
