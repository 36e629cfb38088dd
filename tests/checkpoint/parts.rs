//! What is handed over must be what was saved.

use candle_core::{DType, Device};
use candle_nn::{AdamW as CandleAdamW, Linear, Optimizer, ParamsAdamW, VarBuilder, linear};
use freeze_core::checkpoint::{Checkpoint, MetricHistory};
use freeze_core::optim::{AdamW, PerParam};
use freeze_core::{Freezable, Freezer, LayerFreezing, Result};

use crate::misfit::{assert_says, text};

#[derive(Freezable)]
struct Small {
    body: Linear,
    head: Linear,
}

fn small() -> Result<Freezer<Small>> {
    let map = candle_nn::VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    Freezer::new(Small { body: linear(2, 2, vb.pp("b"))?, head: linear(2, 2, vb.pp("h"))? })
}

/// Parts that are there on one side only, and optimizers that own too little.
#[test]
fn parts_must_be_the_same_on_both_sides() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("small.safetensors");
    let mut net = small()?;
    let mut opt = AdamW::new(net.vars(), ParamsAdamW::default())?;
    Checkpoint::of(&mut net).optimizer(&mut opt).random("seed", &mut 7u64).save(&path)?;

    let mut seed = 0u64;
    let (mut twin, mut history) = (7u64, MetricHistory::default());
    let mut hook = LayerFreezing::new(0.0, 1.0)?;
    let mut all = AdamW::new(net.vars(), ParamsAdamW::default())?;
    let mut half = AdamW::new(net.vars().split_off(2), ParamsAdamW::default())?;
    let mut rest = AdamW::new(net.vars()[..2].to_vec(), ParamsAdamW::default())?;
    let mut hidden = PerParam::<CandleAdamW>::new(net.vars(), ParamsAdamW::default())?;
    let (path, no) = (&path, dir.path().join("no"));
    let run = Checkpoint::of(&mut net).optimizer(&mut all);
    let error = text(run.resume(path));
    assert_says(&error, &["it has a generator `seed`, which was not handed over"]);
    let run = Checkpoint::of(&mut net).optimizer(&mut all);
    let error = text(run.random("seed", &mut seed).random("seed", &mut twin).resume(path));
    assert_says(&error, &["two generators have one name"]);
    let run = Checkpoint::of(&mut net).optimizer(&mut all).random("sead", &mut seed);
    let error = text(run.policy(hook.policy_mut()).history(&mut history).resume(path));
    assert_says(&error, &["no generator `sead`", "it has no policy", "it has no history"]);
    let mut word = String::new();
    let run = Checkpoint::of(&mut net).optimizer(&mut all).random("seed", &mut word);
    assert_says(&text(run.resume(path)), &["the state of the generator `seed` is another's"]);
    let run = Checkpoint::of(&mut net).optimizer(&mut half).random("seed", &mut seed);
    assert_says(&text(run.resume(path)), &["no optimizer owns `body.weight`, `body.bias`"]);
    let run = Checkpoint::of(&mut net).optimizer(&mut half).optimizer(&mut rest);
    let error = text(run.random("seed", &mut seed).resume(path));
    assert_says(&error, &["it has 1 optimizers, 2 were handed over"]);
    let run = Checkpoint::of(&mut net).optimizer(&mut hidden).random("seed", &mut seed);
    let hides = "hides its state; use an optimizer of `freeze_core::optim`";
    assert_says(&text(run.resume(path)), &[hides]);
    let run = Checkpoint::of(&mut net).optimizer(&mut hidden);
    assert_says(&text(run.save(&no)), &[hides]);
    let run = Checkpoint::of(&mut net).random("a", &mut seed).random("a", &mut twin);
    let error = text(run.save(path));
    assert_says(&error, &["cannot save the generator `a`: another one has that name"]);
    assert_eq!(seed, 0);
    assert!(!no.exists());
    Ok(())
}

/// One optimizer over two models: their names are the same, and a file could hold one of them.
#[test]
fn an_optimizer_of_two_models_is_refused_by_name() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("two");
    let (mut one, mut other) = (small()?, small()?);
    let vars = [one.vars(), other.vars()].concat();
    let mut both = AdamW::new(vars, ParamsAdamW::default())?;
    one.thaw(&mut [&mut both])?;
    other.thaw(&mut [&mut both])?;
    for net in [&mut one, &mut other] {
        let error = text(Checkpoint::of(net).optimizer(&mut both).save(&path));
        assert_says(&error, &["cannot save", "`body.weight`", "`head.bias`", "two models"]);
    }
    assert!(!path.exists());
    Ok(())
}
