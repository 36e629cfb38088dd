//! The generators of a model's dropouts belong to the model: nobody names them.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, VarBuilder, VarMap, linear};
use freeze_core::checkpoint::{Checkpoint, load_weights};
use freeze_core::nn::{Dropout, DropoutState};
use freeze_core::{BatchNormPolicy, Freezable, Freezer, Result};

use crate::rig::bits;

#[derive(Freezable)]
struct Block {
    fc: Linear,
    drop: Dropout,
}

#[derive(Freezable)]
struct Net {
    blocks: Vec<Block>,
    noise: Option<Dropout>,
    head: Linear,
}

/// Two blocks whose dropouts have the given seeds; equal seeds share one generator.
fn net(seeds: [u64; 2], noise: Option<u64>) -> Result<Freezer<Net>> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let first = Dropout::new(0.3, seeds[0])?;
    let second = if seeds[0] == seeds[1] { first.clone() } else { Dropout::new(0.3, seeds[1])? };
    let block = |(i, drop)| Ok(Block { fc: linear(4, 4, vb.pp(format!("{i}")))?, drop });
    let blocks = [first, second].into_iter().enumerate().map(block).collect::<Result<_>>()?;
    let noise = noise.map(|seed| Dropout::new(0.5, seed)).transpose()?;
    Freezer::new(Net { blocks, noise, head: linear(4, 2, vb.pp("head"))? })
}

fn forward(net: &Net) -> Result<Vec<u64>> {
    let mut xs = Tensor::ones((3, 4), DType::F32, &Device::Cpu)?;
    for block in &net.blocks {
        xs = block.drop.forward(&block.fc.forward(&xs)?, true)?;
    }
    if let Some(noise) = &net.noise {
        xs = noise.forward(&xs, true)?;
    }
    Ok(bits(&net.head.forward(&xs)?))
}

#[test]
fn every_dropout_of_the_model_resumes_without_being_named() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    for seeds in [[1, 2], [1, 1]] {
        let mut run = net(seeds, Some(3))?;
        forward(&run)?;
        Checkpoint::of(&mut run).save(&path)?;
        let expected = [forward(&run)?, forward(&run)?];
        assert_ne!(expected[0], expected[1], "the dropouts draw");

        let other = if seeds[0] == seeds[1] { [7, 7] } else { [7, 8] };
        let mut resumed = net(other, Some(9))?;
        Checkpoint::of(&mut resumed).resume(&path)?;
        assert_eq!([forward(&resumed)?, forward(&resumed)?], expected, "{seeds:?}");
    }
    // A file of weights has nothing of it.
    assert!(load_weights(&path)?.keys().all(|name| !name.contains("drop")));
    Ok(())
}

/// One that is named as well, or lies in no field of the model, goes on as it did.
#[test]
fn generators_may_still_be_named_beside() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    let at = |seed, position| DropoutState { seed, position };
    let mut run = net([1, 2], None)?;
    let (mut named, mut outside) = (run.blocks[0].drop.clone(), Dropout::new(0.5, 4)?);
    outside.set_state(at(4, 44));
    forward(&run)?;
    let stood = named.state();
    let checkpoint = Checkpoint::of(&mut run).random("drop", &mut named);
    checkpoint.random("outside", &mut outside).save(&path)?;

    let mut resumed = net([5, 6], None)?;
    let (mut named, mut outside) = (resumed.blocks[0].drop.clone(), Dropout::new(0.5, 7)?);
    let checkpoint = Checkpoint::of(&mut resumed).random("drop", &mut named);
    checkpoint.random("outside", &mut outside).resume(&path)?;
    assert_eq!((named.state(), outside.state()), (stood, at(4, 44)));
    assert_eq!(resumed.blocks[0].drop.state(), stood);
    Ok(())
}

#[test]
fn other_dropouts_are_another_model() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    let rows = [
        (([1, 2], Some(3)), ([1, 2], None), "the model lacks the dropouts `noise`"),
        (([1, 2], None), ([1, 2], Some(3)), "the file lacks the dropouts `noise`"),
        (
            ([1, 1], None),
            ([1, 2], None),
            "`blocks.1.drop` draws with `blocks.0.drop` in the file and draws by itself in the model",
        ),
        (
            ([1, 2], None),
            ([1, 1], None),
            "`blocks.1.drop` draws by itself in the file and draws with `blocks.0.drop` in the model",
        ),
    ];
    for ((seeds, noise), (other_seeds, other_noise), says) in rows {
        Checkpoint::of(&mut net(seeds, noise)?).save(&path)?;
        let mut other = net(other_seeds, other_noise)?;
        let stood = other.blocks[0].drop.state();
        let error = Checkpoint::of(&mut other).resume(&path).expect_err(says).to_string();
        assert!(error.contains(says), "`{says}` is not in: {error}");
        assert_eq!(other.blocks[0].drop.state(), stood);
    }
    Ok(())
}

/// It is missing, and that is all: nothing is said of whom it draws with.
#[test]
fn a_shared_dropout_that_one_side_lacks_is_missing() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    let sharing = |with_noise: bool| -> Result<Freezer<Net>> {
        let whole = net([1, 1], None)?.into_whole();
        let noise = with_noise.then(|| whole.blocks[0].drop.clone());
        Freezer::new(Net { noise, ..whole })
    };
    for (saved, lacks) in [(true, "the model lacks"), (false, "the file lacks")] {
        Checkpoint::of(&mut sharing(saved)?).save(&path)?;
        let error = Checkpoint::of(&mut sharing(!saved)?).resume(&path).expect_err(lacks);
        let error = error.to_string();
        assert!(error.contains(&format!("{lacks} the dropouts `noise`")), "{error}");
        assert!(!error.contains("draws"), "{error}");
    }
    Ok(())
}

/// A dropout in a struct that is frozen as a whole is off under `Inference`, after a resume as well.
#[test]
fn a_dropout_that_was_off_stays_off() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    let mut run = net([1, 2], None)?;
    run.set_batch_norm(BatchNormPolicy::Inference)?;
    run.freeze_front(1, &mut [])?;
    Checkpoint::of(&mut run).save(&path)?;
    let mut resumed = net([3, 4], None)?;
    Checkpoint::of(&mut resumed).resume(&path)?;
    for run in [&run, &resumed] {
        let [off, on] = [0, 1].map(|i| run.blocks[i].drop.state());
        forward(run)?;
        assert_eq!(run.blocks[0].drop.state(), off);
        assert_ne!(run.blocks[1].drop.state(), on);
    }
    assert_eq!(forward(&resumed)?, forward(&run)?);
    Ok(())
}
