//! Gradients that go past the model, losses that are no number, leaves that nothing can train.

use candle_core::{DType, Device::Cpu, Result, Tensor};
use candle_nn::batch_norm::BatchNormConfig;
use candle_nn::{BatchNorm, Embedding, Linear, Module, ModuleT, VarBuilder, embedding, linear};
use freeze_core::audit::{Finding, Outcome, audit};
use freeze_core::{Freezable, Freezer};

use crate::models::{Chain, Lean, Stock, WIDTH, batch, builder, freezer, loss};

#[derive(Freezable)]
struct Hidden {
    #[freeze(skip)]
    table: Embedding,
    head: Linear,
}

fn hidden() -> Result<Hidden> {
    let vb = builder();
    let table = embedding(5, WIDTH, vb.pp("table"))?;
    Ok(Hidden { table, head: linear(WIDTH, 2, vb.pp("head"))? })
}

#[test]
fn a_skipped_field_with_parameters_is_found() {
    let words = Tensor::new(&[0u32, 3, 4], &Cpu).expect("words");
    for frozen in [0, 1] {
        let mut net = freezer(hidden());
        net.freeze_front(frozen, &mut []).expect("a plan");
        let forward = |m: &Hidden| m.head.forward(&m.table.forward(&words)?)?.sqr()?.mean_all();
        let found = audit(&net, forward).expect("an audit");
        let outside = Finding::OutsideTheModel { shapes: vec![vec![5, WIDTH]] };
        assert!(found.findings().contains(&outside), "{frozen}: {found}");
        let error = found.ensure_clean().expect_err("a fault").to_string();
        assert!(error.contains("1 variables that the model does not have, of shapes [5, 6]"));
        // Detached, it is nobody's.
        let detached = |m: &Hidden| {
            let rows = m.table.embeddings().detach().index_select(&words, 0)?;
            m.head.forward(&rows)?.sqr()?.mean_all()
        };
        assert_eq!(audit(&net, detached).expect("an audit").findings(), []);
    }
}

#[test]
fn a_loss_that_ignores_its_model_is_found() {
    let x = batch();
    for frozen in [0, 2] {
        let mut net = freezer(Lean::new(3));
        net.freeze_front(frozen, &mut []).expect("a plan");
        let names = |layers: std::ops::Range<usize>| -> Vec<String> {
            layers.flat_map(|i| ["weight", "bias"].map(|p| format!("layers.{i}.{p}"))).collect()
        };
        let past = |audit: freeze_core::audit::Audit| {
            audit.findings().into_iter().find_map(|finding| match finding {
                Finding::PastTheModel { names } => Some(names),
                _ => None,
            })
        };
        let whole = audit(&net, |_| loss(net.whole(), &x)).expect("an audit");
        assert_eq!(past(whole), Some(names(0..3)));
        let view = audit(&net, |_| loss(&*net, &x)).expect("an audit");
        assert_eq!(past(view), Some(names(frozen..3)));
        let one = audit(&net, |m| {
            let x = m.layers[1].forward(&m.layers[0].forward(&x)?)?;
            net.whole().layers[2].forward(&x)?.sqr()?.mean_all()
        });
        assert_eq!(past(one.expect("an audit")), Some(names(2..3)));
        assert_eq!(past(audit(&net, |m| loss(m, &x)).expect("an audit")), None);
    }
}

#[test]
fn a_loss_that_is_no_number_is_a_fault_though_gradients_arrive() {
    let x = batch();
    let net = freezer(Stock::new(2));
    for (what, by, clean) in [("number", 1.0, true), ("inf", 0.0, false), ("nan", f64::NAN, false)]
    {
        let found = audit(&net, |m| loss(m, &x)? / by).expect("an audit");
        assert!(found.leaves().iter().all(|leaf| leaf.outcome == Outcome::Trained), "{what}");
        assert_eq!(found.findings().contains(&Finding::NonFiniteLoss), !clean, "{what}");
        assert_eq!(found.ensure_clean().is_ok(), clean, "{what}");
    }
}

#[test]
fn plain_tensors_that_the_plan_trains_are_named() {
    let x = batch();
    let zeros = VarBuilder::zeros(DType::F32, &Cpu);
    let plain = || linear(WIDTH, WIDTH, zeros.clone()).expect("a layer");
    let half = || {
        let layer = linear(WIDTH, WIDTH, builder()).expect("a layer");
        Linear::new(layer.weight().clone(), plain().bias().cloned())
    };
    let net = |first: Linear, frozen: usize| {
        let last = linear(WIDTH, WIDTH, builder()).expect("a layer");
        let mut net = Freezer::new(Chain { layers: vec![first, last] }).expect("a freezer");
        if frozen > 0 {
            net.freeze_front(frozen, &mut []).expect("a plan");
        }
        net
    };
    let rows: [(&str, Freezer<Stock>, Option<&str>); 5] = [
        ("a plain body", net(plain(), 0), Some("layers.0")),
        ("a plain body, frozen", net(plain(), 1), None),
        ("half of a layer", net(half(), 0), Some("layers.0.bias")),
        ("half of a layer, frozen", net(half(), 1), None),
        ("made trainable", net(plain(), 0), None),
    ];
    for (what, net, named) in rows {
        let net = match what {
            "made trainable" => {
                let whole = net.into_whole().into_trainable().expect("variables");
                Freezer::new(whole).expect("a freezer")
            }
            _ => net,
        };
        let found = audit(&net, |m| loss(m, &x)?.affine(1.0, 1.0)).expect("an audit");
        let names = found.findings().into_iter().find_map(|finding| match finding {
            Finding::PlainTensors { names } => Some(names),
            _ => None,
        });
        assert_eq!(names, named.map(|name| vec![name.to_string()]), "{what}: {found}");
        if let Some(name) = named {
            let error = found.ensure_clean().expect_err("a fault").to_string();
            assert!(error.contains(&format!("the plan trains `{name}`, but they are plain")));
        }
    }
}

#[derive(Freezable)]
struct Statistics {
    norm: BatchNorm,
    head: Linear,
}

#[test]
fn statistics_are_neither_missing_nor_strangers() {
    let (x, vb) = (batch(), builder());
    for (affine, outcome) in [(true, Outcome::Trained), (false, Outcome::NoParameters)] {
        let config = BatchNormConfig { affine, ..Default::default() };
        let norm = candle_nn::batch_norm(WIDTH, config, vb.pp("norm")).expect("a layer");
        let head = linear(WIDTH, 2, vb.pp("head")).expect("a layer");
        let net = freezer(Ok(Statistics { norm, head }));
        for train in [true, false] {
            let forward =
                |m: &Statistics| m.head.forward(&m.norm.forward_t(&x, train)?)?.sqr()?.mean_all();
            let found = audit(&net, forward).expect("an audit");
            assert_eq!(found.findings(), [], "{affine} {train}");
            assert_eq!(found.leaf("norm").expect("a leaf").outcome, outcome);
        }
    }
}
