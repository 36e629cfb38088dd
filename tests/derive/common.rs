//! Layers to build models from, and the laws that hold for every model.

use std::collections::HashSet;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::Linear;
use freeze_core::{Error, Freezable, Leaf};

use crate::walks::assert_same_walks;

/// A trainable 2x2 layer with a bias; `seed` tells its values from those of others.
pub(crate) fn linear(seed: u32) -> Linear {
    let weight = var(&[[seed as f32, 0.5], [0.25, -1.0]]);
    Linear::new(weight, Some(var(&[0.1, seed as f32 / 3.0])))
}

/// A trainable tensor.
pub(crate) fn var(values: impl candle_core::NdArray) -> Tensor {
    Var::new(values, &Device::Cpu).expect("a variable").into_inner()
}

pub(crate) fn paths<M: Freezable>(model: &M) -> Vec<String> {
    leaves(model).into_iter().map(|leaf| leaf.path).collect()
}

pub(crate) fn kinds<M: Freezable>(model: &M) -> Vec<&'static str> {
    leaves(model).into_iter().map(|leaf| leaf.kind).collect()
}

/// The full names of all tensors.
pub(crate) fn names<M: Freezable>(model: &M) -> Vec<String> {
    let tensors = model.named_tensors().expect("tensors");
    tensors.into_iter().map(|(name, _)| name).collect()
}

fn leaves<M: Freezable>(model: &M) -> Vec<Leaf> {
    model.leaves().expect("leaves")
}

/// Checks that the leaves of `model` lie at exactly `expected`, and every law at every depth.
#[track_caller]
pub(crate) fn assert_model<M: Freezable>(model: &M, expected: &[&str]) {
    assert_eq!(paths(model), expected);
    assert_laws(model);
}

/// What holds for every model whose tensors are all variables.
#[track_caller]
pub(crate) fn assert_laws<M: Freezable>(model: &M) {
    assert_same_walks(model);
    let whole = leaves(model);
    if let Some(len) = M::LEAVES.len() {
        assert_eq!(len, whole.len(), "LEAVES and leaves() disagree");
    }
    let unique: HashSet<&String> = whole.iter().map(|leaf| &leaf.path).collect();
    assert_eq!(unique.len(), whole.len(), "two leaves share a path");
    let before = bits(model);
    for n in 0..=whole.len() {
        let view = model.freeze_upto(n).expect("a view");
        assert_eq!(bits(&*view), before, "a value changed at depth {n}");
        assert_depth(&whole, &leaves(&*view), n);
        let thawed = view.leaves().expect("leaves").len();
        assert_eq!(thawed, whole.len());
    }
    let error = model.freeze_upto(whole.len() + 1).map(|_| ()).expect_err("too deep");
    assert!(matches!(error, Error::Depth { .. }), "{error}");
    assert_eq!(bits(model), before, "taking views changed the model");
}

/// The first `n` leaves hold no variable; the others hold the model's own.
#[track_caller]
fn assert_depth(whole: &[Leaf], view: &[Leaf], n: usize) {
    assert_eq!(view.len(), whole.len());
    for (was, is) in whole.iter().zip(view) {
        assert_eq!((&is.path, is.kind, is.params.len()), (&was.path, was.kind, was.params.len()));
        for (old, new) in was.params.iter().zip(&is.params) {
            assert!(old.trainable, "{} is no variable", old.full_name);
            assert_eq!(new.trainable, is.index >= n, "{} at depth {n}", new.full_name);
            assert_eq!(new.id == old.id, is.index >= n, "{} at depth {n}", new.full_name);
        }
    }
}

/// Every tensor's name with its elements' bits.
pub(crate) fn bits<M: Freezable>(model: &M) -> Vec<(String, Vec<u32>)> {
    let values = |tensor: &Tensor| -> Result<Vec<u32>> {
        let flat = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(flat.into_iter().map(f32::to_bits).collect())
    };
    let tensors = model.named_tensors().expect("tensors");
    tensors.into_iter().map(|(name, it)| (name, values(&it).expect("values"))).collect()
}
