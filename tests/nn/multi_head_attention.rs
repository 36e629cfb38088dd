//! `nn::MultiHeadAttention` against its parts, and as a part of models.

use candle_core::{DType, Device, Module, ModuleT, Tensor, Var};
use candle_nn::{Linear, VarBuilder, VarMap};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::init::Seeded;
use freeze_core::nn::ops::AttentionMask;
use freeze_core::nn::{
    MultiHeadAttention, MultiHeadAttentionConfig, multi_head_attention, multi_head_attention_named,
};
use freeze_core::{Freezable, Freezer, Result};

use crate::support::{assert_close, check, flat, random};

const SIZE: usize = 6;

fn config(heads: usize, key_heads: usize) -> MultiHeadAttentionConfig {
    MultiHeadAttentionConfig { heads, key_heads, ..Default::default() }
}

fn layer(config: MultiHeadAttentionConfig) -> Result<MultiHeadAttention> {
    multi_head_attention(SIZE, config, Seeded::builder(2, DType::F64, &Device::Cpu))
}

/// By candle's layers and operations, one head after the other.
fn by_head(
    layer: &MultiHeadAttention,
    (heads, key_heads): (usize, usize),
    [xs, context]: [&Tensor; 2],
    added: Option<&Tensor>,
) -> candle_core::Result<Tensor> {
    let stock = |place: usize| {
        let layer = &layer.projections()[place];
        Linear::new(layer.weight().clone(), layer.bias().cloned())
    };
    let (q, k, v) = (stock(0).forward(xs)?, stock(1).forward(context)?, stock(2).forward(context)?);
    let size = SIZE / heads;
    let head = |t: &Tensor, head: usize| t.narrow(2, head * size, size)?.contiguous();
    let mixed = (0..heads).map(|at| {
        let served = at * key_heads / heads;
        let keys = head(&k, served)?.transpose(1, 2)?.contiguous()?;
        let mut scores = (head(&q, at)?.matmul(&keys)? * (size as f64).powf(-0.5))?;
        if let Some(added) = added {
            scores = scores.broadcast_add(added)?;
        }
        candle_nn::ops::softmax(&scores, 2)?.matmul(&head(&v, served)?)
    });
    stock(3).forward(&Tensor::cat(&mixed.collect::<candle_core::Result<Vec<_>>>()?, 2)?)
}

#[test]
fn equal_to_one_head_after_the_other() -> Result<()> {
    let (xs, other) = (random(1, (2, 4, SIZE), DType::F64), random(2, (2, 7, SIZE), DType::F64));
    let inf = f64::NEG_INFINITY;
    let causal = [[0., inf, inf, inf], [0., 0., inf, inf], [0., 0., 0., inf], [0.; 4]];
    let (causal, bias) = (Tensor::new(&causal, &Device::Cpu)?, random(3, (4, 7), DType::F64));
    for heads in [(1, 0), (2, 0), (3, 0), (6, 0), (6, 1), (6, 2), (6, 3)] {
        for bias_of_layers in [true, false] {
            let layer = layer(MultiHeadAttentionConfig {
                bias: bias_of_layers,
                ..config(heads.0, heads.1)
            })?;
            let heads = (heads.0, if heads.1 == 0 { heads.0 } else { heads.1 });
            let expected = by_head(&layer, heads, [&xs, &xs], None)?;
            assert_close(&layer.forward_t(&xs, true)?, &expected, 1e-14, "itself");
            let found = layer.attend(&xs, &xs, AttentionMask::Causal, true)?;
            assert_close(
                &found,
                &by_head(&layer, heads, [&xs, &xs], Some(&causal))?,
                1e-14,
                "causal",
            );
            let found = layer.attend(&xs, &other, AttentionMask::Additive(&bias), true)?;
            let expected = by_head(&layer, heads, [&xs, &other], Some(&bias))?;
            assert_close(&found, &expected, 1e-14, "another sequence");
        }
    }
    Ok(())
}

#[test]
fn gradients_by_finite_differences() -> Result<()> {
    let layer = layer(MultiHeadAttentionConfig { dropout: 0.3, ..config(2, 1) })?.freeze_upto(4)?;
    let start = layer.dropout().state();
    check(&[random(1, (1, 3, SIZE), DType::F64), random(2, (1, 4, SIZE), DType::F64)], |t| {
        layer.dropout().set_state(start);
        layer.attend(&t[0], &t[1], AttentionMask::Causal, true)
    });
    Ok(())
}

#[test]
fn names_are_those_of_most_models_or_as_said() -> Result<()> {
    let names =
        |build: &dyn Fn(VarBuilder<'_>) -> Result<MultiHeadAttention>| -> Result<Vec<String>> {
            let map = VarMap::new();
            build(VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
            let mut names: Vec<String> =
                map.data().lock().expect("no panic").keys().cloned().collect();
            names.sort();
            Ok(names)
        };
    let plain = MultiHeadAttentionConfig { bias: false, ..config(2, 0) };
    assert_eq!(
        names(&|vb| multi_head_attention(SIZE, plain, vb))?,
        ["k_proj.weight", "o_proj.weight", "q_proj.weight", "v_proj.weight"]
    );
    let other = ["query", "key", "value", "out"];
    assert_eq!(
        names(&|vb| multi_head_attention_named(SIZE, plain, other, vb))?,
        ["key.weight", "out.weight", "query.weight", "value.weight"]
    );
    let paths: Vec<String> = layer(plain)?.leaves()?.into_iter().map(|leaf| leaf.path).collect();
    assert_eq!(paths, ["q_proj", "k_proj", "v_proj", "o_proj"]);
    assert_eq!(MultiHeadAttention::LEAVES.before("o_proj"), 3);
    Ok(())
}

#[test]
fn heads_that_do_not_divide_are_refused() {
    for (config, word) in [
        (config(0, 0), "`heads` is 0"),
        (config(4, 0), "`heads` is 4"),
        (config(3, 2), "`key_heads` is 2"),
        (config(2, 4), "`key_heads` is 4"),
        (MultiHeadAttentionConfig { dropout: 1.0, ..config(2, 0) }, "`p` is 1"),
    ] {
        let error = layer(config).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let flat = Tensor::zeros((4, SIZE), DType::F64, &Device::Cpu).unwrap();
    let error = layer(config(2, 0)).unwrap().forward_t(&flat, false).unwrap_err().to_string();
    assert!(error.contains("expected [batch, length, size]"), "{error}");
}

#[derive(Freezable)]
struct Net {
    attention: MultiHeadAttention,
}

#[test]
fn a_model_freezes_its_leaves_and_saves_its_generator() -> Result<()> {
    let net = || -> Result<Freezer<Net>> {
        let config = MultiHeadAttentionConfig { dropout: 0.5, ..config(2, 0) };
        Freezer::new(Net { attention: layer(config)? }.into_trainable()?)
    };
    let xs = Var::from_tensor(&random(1, (1, 5, SIZE), DType::F64))?;
    let mut run = net()?;
    run.freeze_front(3, &mut [])?;
    let grads = run.attention.forward_t(&xs, true)?.sqr()?.sum_all()?.backward()?;
    let trained: Vec<bool> = run.vars().iter().map(|var| grads.get(var).is_some()).collect();
    assert_eq!(trained, [false, false, false, false, false, false, true, true]);
    assert!(grads.get(&xs).is_some());

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    Checkpoint::of(&mut run).save(&path)?;
    let expected = flat(&run.attention.forward_t(&xs, true)?);
    assert_ne!(expected, flat(&run.attention.forward_t(&xs, true)?), "it draws");
    let mut resumed = net()?;
    Checkpoint::of(&mut resumed).resume(&path)?;
    assert_eq!(flat(&resumed.attention.forward_t(&xs, true)?), expected);
    Ok(())
}
