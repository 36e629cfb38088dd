//! Missing gradients and their causes.

use candle_core::{DType, Device::Cpu, Result, Tensor};
use candle_nn::{Dropout, LayerNorm, Linear, Module, VarBuilder, linear, ops::softmax_last_dim};
use freeze_core::audit::{Audit, Cause, CutAt, Finding, Outcome, audit, audit_mut};
use freeze_core::{Freezable, Freezer, nn};

use crate::models::{Chain, Lean, Normed, Stock, WIDTH, batch, builder, freezer, loss};

/// The leaves in which a gradient is missing.
fn missing(audit: &Audit) -> Vec<&str> {
    let missing = audit.leaves().iter().filter(|leaf| !leaf.missing.is_empty());
    missing.map(|leaf| leaf.path.as_str()).collect()
}

fn outcome<'a>(audit: &'a Audit, path: &str) -> &'a Outcome {
    &audit.leaf(path).expect("a leaf").outcome
}

fn error(audit: &Audit) -> String {
    audit.ensure_clean().expect_err("a fault").to_string()
}

#[test]
fn a_clean_model_passes() {
    let x = batch();
    let (stock, lean) = (freezer(Stock::new(3)), freezer(Lean::new(3)));
    for audit in [audit(&stock, |m| loss(m, &x)), audit_mut(&lean, |m| loss(m, &x))] {
        let audit = audit.expect("an audit");
        audit.ensure_clean().expect("nothing found");
        assert_eq!(audit.findings(), []);
        assert!(audit.leaves().iter().all(|leaf| leaf.outcome == Outcome::Trained));
        assert!(audit.to_string().contains("nothing found"));
    }
    let norm = freezer(Normed::<nn::LayerNorm>::new());
    audit(&norm, |m| loss(m, &x)).expect("an audit").ensure_clean().expect("nothing found");
}

#[test]
fn candles_layer_norm_is_named_with_what_it_cuts_off() {
    let x = batch();
    let net = freezer(Normed::<LayerNorm>::new());
    let audit = audit(&net, |m| loss(m, &x)).expect("an audit");
    assert_eq!(missing(&audit), ["stem", "body", "norm"]);
    let at = CutAt::Leaf { path: "norm".to_string(), kind: "LayerNorm" };
    for path in ["stem", "body", "norm"] {
        assert_eq!(outcome(&audit, path), &Outcome::Missing(Cause::Cut(at.clone())));
    }
    assert_eq!(outcome(&audit, "head"), &Outcome::Trained);
    assert_eq!(
        error(&audit),
        "the audit found faults: no gradient reaches `stem`, `body`, `norm`: they are cut off at \
         `norm`, candle's LayerNorm, which has no backward; use `freeze_core::nn::LayerNorm`"
    );
    assert!(audit.to_string().contains("cut off at norm"));
}

#[test]
fn what_is_frozen_on_purpose_is_not_missing() {
    let x = batch();
    let mut net = freezer(Normed::<LayerNorm>::new());
    net.freeze_front(3, &mut []).expect("a plan");
    let audit = audit(&net, |m| loss(m, &x)).expect("an audit");
    audit.ensure_clean().expect("nothing found");
}

/// Query and key meet in candle's fused softmax; the value passes it by.
#[derive(Freezable)]
struct Attention<N: Freezable> {
    query: Linear,
    key: Linear,
    value: Linear,
    norm: N,
}

#[test]
fn a_softmax_belongs_to_no_leaf() {
    let (x, vb) = (batch(), builder());
    let part = |name: &str| linear(WIDTH, WIDTH, vb.pp(name)).expect("a layer");
    let norm = nn::layer_norm(WIDTH, 1e-5, vb.pp("norm")).expect("a layer");
    let (query, key, value) = (part("query"), part("key"), part("value"));
    let net = freezer(Ok(Attention { query, key, value, norm }));
    let forward = |m: &Attention<nn::LayerNorm>, softmax: fn(&Tensor) -> Result<Tensor>| {
        let scores = m.query.forward(&x)?.matmul(&m.key.forward(&x)?.t()?)?;
        let mixed = softmax(&scores)?.matmul(&m.value.forward(&x)?)?;
        m.norm.forward(&mixed)?.powf(3.0)?.mean_all()
    };
    let stock = audit(&net, |m| forward(m, softmax_last_dim)).expect("an audit");
    assert_eq!(missing(&stock), ["query", "key"]);
    for path in ["query", "key"] {
        assert_eq!(outcome(&stock, path), &Outcome::Missing(Cause::Cut(CutAt::AtOrAbove)));
    }
    assert!(error(&stock).contains("no gradient reaches `query`, `key`: an operation at or above"));
    let ours = audit(&net, |m| forward(m, nn::ops::softmax_last_dim)).expect("an audit");
    ours.ensure_clean().expect("nothing found");
}

#[test]
fn a_leaf_that_is_not_used_is_told_from_one_that_is_cut_off() {
    let x = batch();
    let net = freezer(Normed::<LayerNorm>::new());
    // Neither the body nor the norm is called.
    let audit = audit(&net, |m| m.head.forward(&m.stem.forward(&x)?.relu()?)?.sqr()?.mean_all())
        .expect("an audit");
    assert_eq!(missing(&audit), ["body", "norm"]);
    for path in ["body", "norm"] {
        assert_eq!(outcome(&audit, path), &Outcome::Missing(Cause::Unused));
    }
    assert!(error(&audit).contains("`body`, `norm`: the loss does not depend on them"));
}

#[test]
fn a_parameter_without_a_gradient_is_named() {
    let x = batch();
    let net = freezer(Stock::new(2));
    // The second layer's bias is left out.
    let audit = audit(&net, |m| {
        let x = m.layers[0].forward(&x)?.relu()?;
        x.matmul(&m.layers[1].weight().t()?)?.sqr()?.mean_all()
    })
    .expect("an audit");
    let leaf = audit.leaf("layers.1").expect("a leaf");
    assert_eq!((leaf.missing.as_slice(), leaf.all_missing), (&["bias".to_string()][..], false));
    assert_eq!(leaf.outcome, Outcome::Missing(Cause::Unused));
    assert!(error(&audit).contains("no gradient reaches `layers.1.bias`:"));
    assert!(audit.to_string().contains("none for bias"));
}

#[test]
fn effects_that_a_small_step_hides_are_found() {
    let x = batch();
    let net = freezer(Stock::new(2));
    // Rounding has no gradient and hides small differences.
    let cut = audit(&net, |m| {
        let x = (m.layers[0].forward(&x)? * 0.1)?.round()?;
        m.layers[1].forward(&x)?.sqr()?.mean_all()
    })
    .expect("an audit");
    assert_eq!(missing(&cut), ["layers.0"]);
    assert_eq!(outcome(&cut, "layers.0"), &Outcome::Missing(Cause::Cut(CutAt::AtOrAbove)));
}

#[test]
fn a_loss_from_which_nothing_can_be_told_is_said_to_be_one() {
    let x = batch();
    let net = freezer(Normed::<LayerNorm>::new());
    let dropout = Dropout::new(0.5);
    let random = audit(&net, |m| {
        let x = dropout.forward(&m.stem.forward(&x)?, true)?;
        m.head.forward(&m.norm.forward(&m.body.forward(&x)?)?)?.sqr()?.mean_all()
    })
    .expect("an audit");
    assert_eq!(outcome(&random, "body"), &Outcome::Missing(Cause::RandomLoss));
    assert!(error(&random).contains("the loss is random"));

    let infinite = audit(&net, |m| loss(m, &x)? / 0.0).expect("an audit");
    assert_eq!(outcome(&infinite, "body"), &Outcome::Missing(Cause::NonFiniteLoss));

    // Our dropout is put back before each trial, so that the loss repeats.
    let dropout = nn::Dropout::new(0.5, 7).expect("a dropout");
    let state = dropout.state();
    let seeded = audit(&net, |m| {
        let x = dropout.forward(&m.stem.forward(&x)?, true)?;
        m.head.forward(&m.norm.forward(&m.body.forward(&x)?)?)?.sqr()?.mean_all()
    })
    .expect("an audit");
    assert!(matches!(outcome(&seeded, "body"), Outcome::Missing(Cause::Cut(_))));
    assert_eq!(dropout.state(), state);
}

#[test]
fn a_model_of_plain_tensors_cannot_train() {
    let x = batch();
    let vb = VarBuilder::zeros(DType::F32, &Cpu);
    let plain = || linear(WIDTH, WIDTH, vb.clone()).map(|layer| Chain { layers: vec![layer] });
    let plain_net = freezer(plain());
    let audit_of = |net: &Freezer<Stock>| audit(net, |m| loss(m, &x)).expect("an audit");
    let found = audit_of(&plain_net);
    assert_eq!(found.findings(), [Finding::NoVariables]);
    assert!(!found.has_variables() && error(&found).contains("into_trainable()"));
    assert_eq!(outcome(&found, "layers.0"), &Outcome::NoVariables);
    let trainable = plain().expect("a model").into_trainable().expect("variables");
    audit_of(&Freezer::new(trainable).expect("a freezer")).ensure_clean().expect("nothing found");
}
