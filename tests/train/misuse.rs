//! Every mistake is an error that says what to do, and the run can go on.

use std::sync::{Arc, Mutex};

use candle_core::Tensor;
use candle_nn::ParamsAdamW;
use freeze_core::checkpoint::Manager;
use freeze_core::nn::ops::mul;
use freeze_core::optim::{AdamW, GradClip, PerParam};
use freeze_core::{Error, LayerFreezing, Result, Training};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::rig::*;

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let error = result.expect_err("a mistake").to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` in: {error}");
    }
}

#[test]
fn calls_out_of_place() -> Result<()> {
    let mut run = plain()?;
    let alone = Tensor::new(1f32, &candle_core::Device::Cpu)?;
    refused(run.step(&alone), &["next_epoch"]);
    refused(run.epoch_end([]), &["0 of the epoch's 5 batches"]);
    let epoch = run.next_epoch()?.expect("an epoch");
    refused(run.epoch_end([]), &["0 of the epoch's 5 batches", "before the run"]);
    let two = Tensor::new(&[1f32, 2.], &candle_core::Device::Cpu)?;
    refused(run.step(&two), &["[2]", "scalar"]);
    refused(run.step(&alone), &["no gradient reached"]);
    drive_epoch(&mut run, &epoch)?;
    refused(run.step(&alone), &["5 batches", "epoch_end"]);
    refused(run.next_epoch(), &["epoch_end"]);
    run.epoch_end([])?;
    drive(&mut run)?;
    let mut whole = plain()?;
    drive(&mut whole)?;
    assert_same(&weights(&run), &weights(&whole), "after refusals");
    Ok(())
}

#[test]
fn a_run_that_is_not_whole() -> Result<()> {
    let adam = |vars| AdamW::with_names(vars, ParamsAdamW::default());
    let net = || Training::new(Net::new(1)?);
    refused(net()?.optimizer(adam)?.next_epoch(), &["length(epochs, batches)"]);
    refused(net()?.length(1, 1)?.next_epoch(), &["optimizer"]);
    refused(
        net()?.optimizer_for("body.**", adam)?.length(1, 1)?.next_epoch(),
        &["stem.weight", "no optimizer owns"],
    );
    refused(net()?.optimizer_for("boddy.**", adam), &["boddy.**", "body"]);
    refused(net()?.optimizer_for("body", adam), &["`body` is a group", "`body.**`"]);
    refused(net()?.optimizer_for("[", adam), &["`[`", "not a pattern"]);
    refused(net()?.optimizer(adam)?.optimizer_for("body.**", adam), &["parts first"]);
    refused(net()?.length(0, 1), &["epochs", "at least 1"]);
    refused(net()?.length(1, 0), &["batches", "at least 1"]);
    refused(net()?.accumulate(0), &["accumulate", "at least 1"]);
    refused(net()?.turns(0), &["turns", "at least 1"]);
    for bound in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(net()?.clip(GradClip::Norm(bound)), &["clip"]);
        refused(net()?.clip(GradClip::Value(bound)), &["clip"]);
    }
    Ok(())
}

#[test]
fn absurd_sizes_are_no_panic() -> Result<()> {
    let mut run = plain()?.length(usize::MAX, usize::MAX)?.accumulate(usize::MAX)?;
    run = run.turns(usize::MAX)?.policy(LayerFreezing::new(0.0, 1.0)?);
    let epoch = run.next_epoch()?.expect("an epoch");
    assert_eq!(epoch.shuffled(0, 0).count(), 0);
    assert_eq!(epoch.shuffled(3, 0).count(), 3, "a size of 0 counts as 1");
    assert_eq!(epoch.in_order(5, 3).collect::<Vec<_>>(), [vec![0, 1, 2], vec![3, 4]]);
    assert!(!run.step(&loss(&run, &[0, 1])?)?.updated);
    Ok(())
}

#[test]
fn a_rate_that_is_no_number_is_refused_before_anything_moves() -> Result<()> {
    for rate in [f64::NAN, f64::INFINITY, -1.0] {
        let mut run = plain()?.rate(move |_| rate);
        run.next_epoch()?;
        let loss = loss(&run, &[0, 1])?;
        let before = weights(&run);
        refused(run.step(&loss), &["`rate`"]);
        assert_same(&weights(&run), &before, "refused");
        assert_eq!(run.elapsed().step, 0);
    }
    Ok(())
}

#[test]
fn a_loss_that_reaches_nothing_is_refused_wherever_it_stands_in_a_step() -> Result<()> {
    let mut run = plain()?.accumulate(4)?;
    let epoch = run.next_epoch()?.expect("an epoch");
    let alone = Tensor::new(7f32, &candle_core::Device::Cpu)?;
    let other = Net::new(2)?.head.weight().sqr()?.mean_all()?;
    let mut whole = plain()?.accumulate(4)?;
    whole.next_epoch()?;
    for which in epoch.shuffled(SAMPLES, SIZE) {
        for loss in [&alone, &other] {
            let error = run.step(loss).expect_err("it reaches nothing");
            assert!(matches!(error, Error::NoGradient { trained: 10, .. }), "{error:?}");
        }
        run.step(&loss(&run, &which)?)?;
        whole.step(&loss(&whole, &which)?)?;
    }
    let findings = run.epoch_end([])?.findings;
    assert!(findings.is_empty(), "what was refused is not looked at: {findings:?}");
    assert_same(&weights(&run), &weights(&whole), "after refusals");
    Ok(())
}

#[test]
fn a_graph_of_an_earlier_step_is_refused_wherever_it_stands() -> Result<()> {
    type Mode = fn(Training<Net>) -> Result<Training<Net>>;
    let modes: [(&str, Mode); 3] = [
        ("plain", Ok),
        ("accumulated", |run| run.accumulate(4)),
        ("within the backward", |run| Ok(run.update_in_backward())),
    ];
    for (name, mode) in modes {
        let (mut run, mut whole) = (mode(plain()?)?, mode(plain()?)?);
        let epoch = run.next_epoch()?.expect("an epoch");
        whole.next_epoch()?;
        let mut state: Option<Tensor> = None;
        for which in epoch.shuffled(SAMPLES, SIZE) {
            if let Some(state) = &state {
                let before = weights(&run);
                let words = ["mul: a backward has gone through this before", "detach"];
                refused(run.step(state), &words);
                // The largest gradient comes before, or after.
                let weight = run.model().body[0].weight();
                let own = mul(weight, weight)?.sum_all()?;
                for mixed in [(&own + state)?, (state + &own)?] {
                    let error = run.step(&mixed).expect_err("a part is released");
                    assert!(matches!(error, Error::Released { op: "mul" }), "{name}: {error:?}");
                }
                assert_same(&weights(&run), &before, name);
            }
            let weight = run.model().head.weight();
            let next = mul(weight, weight)?.sum_all()?;
            let start =
                state.map_or(Ok(next.zeros_like()?), |state| Ok::<_, Error>(state.detach()))?;
            run.step(&((loss(&run, &which)? + &next)? + &start)?)?;
            let weight = whole.model().head.weight();
            let own = mul(weight, weight)?.sum_all()?;
            whole.step(&((loss(&whole, &which)? + own)? + start)?)?;
            state = Some(next);
        }
        assert_same(&weights(&run), &weights(&whole), name);
    }
    Ok(())
}

#[test]
fn more_samples_than_the_length_says_are_not_passed_over() -> Result<()> {
    let mut run = plain()?.length(1, 3)?;
    let epoch = run.next_epoch()?.expect("an epoch");
    assert_eq!(epoch.shuffled(SAMPLES, SIZE).count(), BATCHES);
    assert_eq!(epoch.remaining(0..BATCHES).count(), BATCHES);
    refused(drive_epoch(&mut run, &epoch), &["3 batches", "before the run begins"]);
    run.epoch_end([])?;
    Ok(())
}

#[test]
fn what_could_not_be_saved_is_refused_before_the_first_epoch() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = || Manager::new(folder.path());
    let hidden = Training::new(Net::new(1)?)?
        .optimizer(|vars| PerParam::<candle_nn::AdamW>::with_names(vars, Default::default()))?;
    refused(
        hidden.checkpoints(manager()?).length(1, 1)?.next_epoch(),
        &["hides its state", "freeze_core::optim"],
    );
    let noise = || Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(1)));
    for name in ["twice", "freeze.training"] {
        let run = plain()?.checkpoints(manager()?).random(name, noise());
        refused(run.random("twice", noise()).next_epoch(), &[name, "give each its own"]);
    }
    let mut run = plain()?.checkpoints(manager()?);
    drive(&mut run)?;
    refused(plain()?.checkpoints(manager()?).next_epoch(), &["is there already", "`resume`"]);
    let mut again = plain()?.checkpoints(manager()?.replace_later());
    drive(&mut again)?;
    let mut resumed = plain()?.checkpoints(manager()?);
    resumed.resume()?;
    assert!(resumed.next_epoch()?.is_none());
    Ok(())
}
