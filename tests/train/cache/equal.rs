//! Losses and weights with a cache are those without, bit for bit.

use candle_core::{Device, Tensor, Var};
use candle_nn::{AdamW as StockAdamW, Optimizer, SGD};
use freeze_core::optim::{Adam, AdamW, ParamsAdam, ParamsSgd, PerParam, Sgd};
use freeze_core::{ActivationCache, LayerFreezing, Result, Training, load::load_into};

use super::net::*;

type Build = fn(Training<Net>) -> Result<Training<Net>>;

const OPTIMIZERS: [(&str, Build); 5] = [
    ("AdamW", |run| run.optimizer(|vars| AdamW::with_names(vars, params()))),
    ("Adam", |run| run.optimizer(|vars| Adam::with_names(vars, ParamsAdam::default()))),
    ("Sgd", |run| run.optimizer(|vars| Sgd::with_names(vars, ParamsSgd::default()))),
    ("candle's AdamW", |run| {
        run.optimizer(|vars| PerParam::<StockAdamW>::with_names(vars, params()))
    }),
    ("candle's SGD", |run| {
        run.optimizer(|vars| Ok(SGD::new(vars.into_iter().map(|var| var.var).collect(), 0.1)?))
    }),
];

fn same(cached: &Course, plain: &Course, context: &str) {
    assert_eq!(cached.0, plain.0, "{context}: losses");
    for (cached, plain) in cached.1.iter().zip(&plain.1) {
        assert!(cached == plain, "{context}: `{}` differs", plain.0);
    }
}

#[test]
fn under_a_schedule_with_every_optimizer() -> Result<()> {
    for (name, build) in OPTIMIZERS {
        let policy = || LayerFreezing::new(0.0, 0.7);
        let plain = course(&mut build(bare()?)?.policy(policy()?), |_, _| Ok(()))?;
        let mut run = build(bare()?)?.policy(policy()?).cache(ActivationCache::new());
        let cached = course(&mut run, |_, _| Ok(()))?;
        same(&cached, &plain, name);
        let stats = run.activation_cache().expect("a cache").stats();
        assert!([stats.hits, stats.extended, stats.misses] == [22; 3], "{name}: {stats}");
        assert_eq!(stats.records, SAMPLES, "{name}");
    }
    Ok(())
}

/// Bytes of a record in front of each block, and of all of them, on the way to which budgets end.
#[test]
fn whatever_the_budget() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let half = SAMPLES as u64 / 2 * 24;
    // In memory, in a file, samples that find room in front of `blocks.1` and `blocks.2`.
    let rows = [
        (0, None, 0),
        (23, None, 0),
        (24, None, 1),
        (half, None, SAMPLES / 2),
        (half, Some(24), SAMPLES / 2 + 1),
        (0, Some(half), SAMPLES / 2),
        (u64::MAX, None, SAMPLES),
        (0, Some(u64::MAX), SAMPLES),
    ];
    let moved = |run: &mut Training<Net>, epoch: usize| {
        // Out come 6 numbers, 6 again, then 8; thawed in between.
        let leaves = [2, 2, 3, 0, 3][epoch];
        run.freeze_front(leaves).map(drop)
    };
    let plain = course(&mut run()?, moved)?;
    for (memory, disk, found) in rows {
        let mut cache = ActivationCache::new().memory(memory);
        if let Some(bytes) = disk {
            cache = cache.folder(folder.path(), bytes);
        }
        let mut run = run()?.cache(cache);
        let mut records = Vec::new();
        let cached = course(&mut run, |run, epoch| {
            records.push(run.activation_cache().expect("a cache").stats());
            moved(run, epoch)
        })?;
        let context = format!("{memory} and {disk:?}");
        same(&cached, &plain, &context);
        let counts: Vec<usize> = records.iter().map(|stats| stats.records).collect();
        assert_eq!(counts, [0, found, found, found, 0], "{context}");
        let full: Vec<bool> = records.iter().map(|stats| stats.full).collect();
        assert_eq!(full[3], found < SAMPLES, "{context}");
        for stats in records {
            assert!(stats.memory_bytes <= memory, "{context}: {stats}");
            assert!(stats.disk_bytes <= disk.unwrap_or(0), "{context}: {stats}");
        }
    }
    Ok(())
}

/// What changes the weights of the front between two epochs.
#[test]
fn weights_that_are_set_are_found() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weights.safetensors");
    freeze_core::checkpoint::save_weights(&file, &Net::new(9)?)?;
    type Change = Box<dyn Fn(&mut Training<Net>) -> Result<()>>;
    let rows: [(&str, usize, Change); 6] = [
        ("nothing", 22, Box::new(|_| Ok(()))),
        (
            "a variable",
            0,
            Box::new(|run| {
                let var = Var::from_tensor(run.freezer().whole().stem.weight())?;
                Ok(var.set(&(var.as_tensor() * 0.5)?)?)
            }),
        ),
        (
            "a number of a later stage",
            22,
            Box::new(|run| {
                let var = Var::from_tensor(run.freezer().whole().blocks[2].weight())?;
                Ok(var.set(&(var.as_tensor() * 0.5)?)?)
            }),
        ),
        ("a file", 0, Box::new(move |run| load_into(run, &file).map(drop))),
        (
            "trained in between",
            0,
            Box::new(|run| {
                run.thaw()?;
                let all = run.freezer().whole().stem.weight().sqr()?.sum_all()?;
                let grads = all.backward()?;
                let var = Var::from_tensor(run.freezer().whole().stem.weight())?;
                let grad = grads.get(&var).expect("a gradient");
                var.set(&(var.as_tensor() - (grad * 0.1)?)?)?;
                run.freeze_front(3).map(drop)
            }),
        ),
        (
            "thawed and not trained",
            22,
            Box::new(|run| {
                run.thaw()?;
                run.freeze_front(3).map(drop)
            }),
        ),
    ];
    for (what, hits, change) in rows {
        let between = |run: &mut Training<Net>, epoch: usize| match epoch {
            0 => run.freeze_front(3).map(drop),
            2 => change(run),
            _ => Ok(()),
        };
        let plain = course(&mut run()?, between)?;
        let mut cached_run = run()?.cache(ActivationCache::new());
        let mut counts = Vec::new();
        let cached = course(&mut cached_run, |run, epoch| {
            counts.push(run.activation_cache().expect("a cache").stats().hits as usize);
            between(run, epoch)
        })?;
        same(&cached, &plain, what);
        assert_eq!(counts, [0, 0, 22, 22 + hits, 44 + hits], "{what}");
    }
    Ok(())
}

#[test]
fn a_glance_finds_a_change_within_an_epoch() -> Result<()> {
    let mut run = run()?.cache(ActivationCache::new());
    run.freeze_front(3)?;
    let (keys, xs, _) = batch(&[0, 1, 2])?;
    for scale in [1.0, 0.5] {
        let var = Var::from_tensor(run.freezer().whole().blocks[1].weight())?;
        var.set(&(var.as_tensor() * scale)?)?;
        let state = run.model().dropout.state();
        let expected = bits(&freeze_core::Staged::forward(run.model(), xs.clone(), &())?);
        run.model().dropout.set_state(state);
        assert_eq!(bits(&run.forward(&keys, xs.clone(), &())?), expected, "{scale}");
    }
    Ok(())
}

#[test]
fn a_run_resumed_without_its_cache_is_the_same_run() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.safetensors");
    let policy = || LayerFreezing::new(0.1, 1.0);
    let build = || Ok::<_, freeze_core::Error>(run()?.policy(policy()?));
    let mut whole = build()?.cache(ActivationCache::new());
    let expected = course(&mut whole, |run, epoch| match epoch {
        2 => run.save(&file),
        _ => Ok(()),
    })?;
    for cached in [false, true] {
        let mut resumed = build()?;
        if cached {
            resumed = resumed.cache(ActivationCache::new());
        }
        resumed.resume_from(&file)?;
        let (losses, weights) = course(&mut resumed, |_, _| Ok(()))?;
        let behind = expected.0[expected.0.len() - losses.len()..].to_vec();
        same(&(losses, weights), &(behind, expected.1.clone()), "resumed");
    }
    // Back to where it was, with what a later boundary kept.
    whole = whole.length(6, BATCHES)?;
    whole.resume_from(&file)?;
    let mut plain = build()?.length(6, BATCHES)?;
    plain.resume_from(&file)?;
    same(&course(&mut whole, |_, _| Ok(()))?, &course(&mut plain, |_, _| Ok(()))?, "went back");
    Ok(())
}

#[test]
fn without_a_cache_it_is_the_models_forward() -> Result<()> {
    let mut run = run()?;
    let xs = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu)?;
    assert_eq!(run.forward(&[], xs, &())?.dims(), [2, 3]);
    assert!(run.activation_cache().is_none());
    Ok(())
}
