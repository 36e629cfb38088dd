//! Random depth is no fault, and whoever is left out by it is not blamed.

use std::cell::RefCell;

use candle_core::{Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, ops::softmax_last_dim};
use freeze_core::audit::{Cause, CutAt, Finding, Outcome, audit};
use freeze_core::{Freezable, nn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::models::{Stock, WIDTH, batch, builder, freezer, loss, randn};

#[test]
fn a_random_depth_is_told_from_what_is_cut_off_or_unused() {
    let x = batch();
    // The layers take part in half of the evaluations; by so much their output counts.
    for (what, share) in [("moves the loss", 1.0), ("moves nothing", 0.0)] {
        // A tensor: candle leaves out what is multiplied by the number 0.
        let shares = (x.ones_like().expect("ones") * share).expect("shares");
        for seed in 0..6 {
            let net = freezer(Stock::new(4));
            let rng = RefCell::new(ChaCha8Rng::seed_from_u64(seed));
            // The last layer is never used.
            let found = audit(&net, |m| {
                let mut x = m.layers[0].forward(&x)?;
                for layer in &m.layers[1..3] {
                    if rng.borrow_mut().random::<bool>() {
                        x = (&x + (layer.forward(&x)? * &shares)?)?;
                    }
                }
                x.sqr()?.mean_all()
            })
            .expect("an audit");
            assert!(found.findings().contains(&Finding::RandomGraph), "{what}: {found}");
            for index in [1, 2] {
                let outcome = &found.leaves()[index].outcome;
                let expected = [Outcome::Trained, Outcome::Missing(Cause::AtTimes)];
                assert!(expected.contains(outcome), "{what} {index}: {outcome:?}");
            }
            let never = if share == 0.0 { Cause::Unused } else { Cause::RandomLoss };
            assert_eq!(found.leaves()[3].outcome, Outcome::Missing(never), "{what}");
            let error = found.ensure_clean().expect_err("a fault").to_string();
            assert!(error.contains("`layers.3`") && !error.contains("`layers.1`"), "{error}");
        }
    }
    // The same model without chance.
    let net = freezer(Stock::new(3));
    let all = audit(&net, |m| loss(m, &x)).expect("an audit");
    assert_eq!(all.findings(), []);
}

/// A layer of the user's that only has the name of candle's.
mod own {
    use super::*;

    #[derive(Freezable)]
    #[freeze(unit)]
    pub struct LayerNorm {
        #[freeze(param)]
        pub weight: Tensor,
        #[freeze(param)]
        pub bias: Tensor,
    }

    impl LayerNorm {
        pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
            x.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
        }
    }
}

#[derive(Freezable)]
struct Net {
    body: Linear,
    norm: own::LayerNorm,
}

/// candle's layer in a leaf with another name.
#[derive(Freezable)]
#[freeze(unit)]
struct Block {
    norm: LayerNorm,
    head: Linear,
}

#[test]
fn a_layer_is_blamed_for_what_it_is_not_for_its_name() {
    let (x, vb) = (batch(), builder());
    let part = |name: &str| candle_nn::linear(WIDTH, WIDTH, vb.pp(name)).expect("a layer");
    let var = |x: Tensor| candle_core::Var::from_tensor(&x).expect("a variable").into_inner();
    let norm = own::LayerNorm { weight: var(randn(WIDTH)), bias: var(randn(WIDTH)) };
    let net = freezer(Ok(Net { body: part("body"), norm }));
    let found = audit(&net, |m| {
        softmax_last_dim(&m.norm.forward(&m.body.forward(&x)?)?)?.sqr()?.mean_all()
    })
    .expect("an audit");
    assert_eq!(found.leaf("norm").expect("a leaf").kind, "LayerNorm");
    for leaf in found.leaves() {
        assert_eq!(leaf.outcome, Outcome::Missing(Cause::Cut(CutAt::AtOrAbove)), "{}", leaf.path);
    }

    let norm = candle_nn::layer_norm(WIDTH, 1e-5, vb.pp("norm")).expect("a layer");
    let net = freezer(Ok(vec![Block { norm, head: part("head") }]));
    let found = audit(&net, |m| m[0].head.forward(&m[0].norm.forward(&x)?)?.sqr()?.mean_all());
    let at = CutAt::Leaf { path: "0".to_string(), kind: "LayerNorm" };
    assert_eq!(found.expect("an audit").leaves()[0].outcome, Outcome::Missing(Cause::Cut(at)));

    // Without a bias candle's takes a way that has a backward; ours always has one.
    let norm = candle_nn::layer_norm_no_bias(WIDTH, 1e-5, vb.pp("bare")).expect("a layer");
    let net = freezer(Ok((part("under"), norm)));
    let forward = |m: &(Linear, LayerNorm)| {
        softmax_last_dim(&m.1.forward(&m.0.forward(&x)?)?)?.sqr()?.mean_all()
    };
    let found = audit(&net, forward).expect("an audit");
    assert_eq!(found.leaves()[0].outcome, Outcome::Missing(Cause::Cut(CutAt::AtOrAbove)));
    let ours: nn::LayerNorm = nn::layer_norm(WIDTH, 1e-5, vb.pp("ours")).expect("a layer");
    let net = freezer(Ok((part("below"), ours)));
    let forward = |m: &(Linear, nn::LayerNorm)| {
        softmax_last_dim(&m.1.forward(&m.0.forward(&x)?)?)?.sqr()?.mean_all()
    };
    let found = audit(&net, forward).expect("an audit");
    assert_eq!(found.leaves()[0].outcome, Outcome::Missing(Cause::Cut(CutAt::AtOrAbove)));
}
