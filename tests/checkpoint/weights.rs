//! Weights alone, read by plain candle and by safetensors itself.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Embedding, Linear, VarBuilder, VarMap, linear, linear_no_bias};
use freeze_core::checkpoint::{Checkpoint, Weights, load_weights, save_weights};
use freeze_core::{Freezable, Freezer, Result};

use crate::rig::{Kind, Run, When, bits};

fn loaded(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).expect("a safetensors file")
}

fn same(one: &Tensor, other: &Tensor) -> bool {
    one.dims() == other.dims() && one.dtype() == other.dtype() && bits(one) == bits(other)
}

#[test]
fn plain_candle_loads_field_paths_and_the_users_own_names() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [fields, own] = ["fields", "own"].map(|name| dir.path().join(name));
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let net = Pair {
        front: linear(3, 4, vb.pp("encoder.layer.0"))?,
        back: candle_nn::batch_norm(4, 1e-5, vb.pp("bn"))?,
    };
    save_weights(&fields, &net)?;
    Weights::of(&net)?.names_from(&map)?.save(&own)?;
    let by_field = loaded(&fields);
    for (name, tensor) in net.named_tensors()? {
        assert!(same(&by_field[&name], &tensor), "{name}");
    }
    assert_eq!(by_field.len(), 6);
    let by_own = loaded(&own);
    let vars = map.data().lock().expect("the map");
    assert_eq!(by_own.len(), vars.len());
    for (name, var) in vars.iter() {
        assert!(same(&by_own[name], var), "{name}");
    }
    drop(vars);
    // As a user of plain candle would: another map, filled from the file.
    let mut other = VarMap::new();
    let vb = VarBuilder::from_varmap(&other, DType::F32, &Device::Cpu);
    let front = linear(3, 4, vb.pp("encoder.layer.0"))?;
    candle_nn::batch_norm(4, 1e-5, vb.pp("bn"))?;
    other.load(&own)?;
    assert!(same(front.weight(), net.front.weight()));
    let error = Weights::of(&net)?.names_from(&VarMap::new()).expect_err("another map").to_string();
    assert!(error.contains("`back.bias`") && error.contains("`front.weight`"), "{error}");
    Ok(())
}

#[derive(Freezable)]
struct Pair {
    front: Linear,
    back: candle_nn::BatchNorm,
}

#[test]
fn a_checkpoint_gives_its_weights_too() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [run_file, weights] = ["run", "weights"].map(|name| dir.path().join(name));
    let mut run = Run::new(Kind::AdamW, When::OneMoreByEpoch, 1)?;
    run.train(5, |_| Ok(()))?;
    run.save(&run_file)?;
    save_weights(&weights, run.net.whole())?;
    let expected = run.net.whole().named_tensors()?;
    for found in [load_weights(&run_file)?, load_weights(&weights)?] {
        assert_eq!(found.len(), expected.len());
        assert!(expected.iter().all(|(name, tensor)| same(&found[name], tensor)));
    }
    Ok(())
}

/// Tied, in every type that candle trains or counts in, empty, and a plain tensor.
#[derive(Freezable)]
struct Odd {
    tokens: Embedding,
    head: Linear,
    #[freeze(param)]
    extra: Vec<Tensor>,
}

fn odd(seed: f64) -> Result<Odd> {
    let table = Var::randn(seed, 1.0, (5, 3), &Device::Cpu)?.into_inner();
    let extra = |dtype| Ok(Tensor::full(seed * 3.0, (2, 3), &Device::Cpu)?.to_dtype(dtype)?);
    let plain = [DType::F16, DType::BF16, DType::F64, DType::U8, DType::U32, DType::I64];
    let mut extra: Vec<Tensor> = plain.into_iter().map(extra).collect::<Result<_>>()?;
    extra.push(Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?);
    extra.push(Tensor::full(seed, (), &Device::Cpu)?);
    extra.push(Tensor::randn(seed, 1.0, (4, 3), &Device::Cpu)?.t()?);
    extra.push(Var::randn(seed, 1.0, (2, 2), &Device::Cpu)?.into_inner());
    Ok(Odd { tokens: Embedding::new(table.clone(), 3), head: Linear::new(table, None), extra })
}

#[test]
fn ties_types_and_plain_tensors_come_back() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [path, weights] = ["run", "weights"].map(|name| dir.path().join(name));
    let mut net = Freezer::new(odd(1.0)?)?;
    net.freeze_front(2, &mut [])?;
    Checkpoint::of(&mut net).save(&path)?;
    save_weights(&weights, net.whole())?;
    let plain = loaded(&weights);
    assert!(same(&plain["head.weight"], &plain["tokens.weight"]));

    let mut other = Freezer::new(odd(2.0)?)?;
    let tied = other.whole().tokens.embeddings().id();
    Checkpoint::of(&mut other).resume(&path)?;
    assert_eq!(other.plan().frozen_leaves(), 2);
    for model in [other.whole(), &*other] {
        for ((name, found), (_, expected)) in
            model.named_tensors()?.iter().zip(net.whole().named_tensors()?)
        {
            assert!(same(found, &expected), "{name}");
        }
    }
    // Still one variable, the one that an optimizer would hold.
    assert_eq!(other.whole().tokens.embeddings().id(), tied);
    assert_eq!(other.whole().head.weight().id(), tied);
    Ok(())
}

/// Two models of one layout of which one is tied.
#[test]
fn a_tie_is_part_of_the_layout() -> Result<()> {
    #[derive(Freezable)]
    struct Two {
        a: Linear,
        b: Linear,
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let a = linear_no_bias(2, 2, vb.pp("a"))?;
    let mut tied = Freezer::new(Two { b: a.clone(), a: a.clone() })?;
    let mut free = Freezer::new(Two { a, b: linear_no_bias(2, 2, vb.pp("b"))? })?;
    Checkpoint::of(&mut tied).save(&path)?;
    let error = Checkpoint::of(&mut free).resume(&path).expect_err("not tied").to_string();
    let says = "`b.weight` is tied to `a.weight` in the file and stands alone in the model";
    assert!(error.contains(says), "{error}");
    Checkpoint::of(&mut free).save(&path)?;
    let error = Checkpoint::of(&mut tied).resume(&path).expect_err("tied").to_string();
    let says = "`b.weight` stands alone in the file and is tied to `a.weight` in the model";
    assert!(error.contains(says), "{error}");
    Ok(())
}

/// What no reader could load is not written.
#[test]
fn the_one_name_that_safetensors_keeps_is_refused() -> Result<()> {
    #[derive(Freezable)]
    struct Renamed {
        #[freeze(param, rename = "__metadata__")]
        table: Tensor,
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("weights");
    let net = Renamed { table: Tensor::zeros(2, DType::F32, &Device::Cpu)? };
    let error = save_weights(&path, &net).expect_err("the name").to_string();
    assert!(error.contains("cannot save `__metadata__`: safetensors keeps free text"), "{error}");
    assert!(!path.exists());
    // In a checkpoint the name has something in front.
    let mut net = Freezer::new(net)?;
    Checkpoint::of(&mut net).save(&path)?;
    Checkpoint::of(&mut net).resume(&path)?;
    Ok(())
}
