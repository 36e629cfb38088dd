//! What frozen leaves cost, and the order of declaration against that of the data flow.

use std::cell::Cell;

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, linear};
use freeze_core::audit::{Finding, FrozenWork, Outcome, audit};
use freeze_core::{Freezable, FreezePlan, Freezer, nn};

use crate::models::{Chain, Lean, Stock, WIDTH, batch, builder, freezer, loss};

/// The frozen leaves of a chain with the work that each costs, with only `trained` trained.
fn work<L>(net: Chain<L>, trained: &[&str]) -> Vec<FrozenWork>
where
    L: Freezable + Module,
{
    let x = batch();
    let mut net = Freezer::new(net).expect("a freezer");
    let mut plan = FreezePlan::all_trained(net.whole()).expect("a plan");
    plan.freeze("layers.*").expect("frozen");
    for path in trained {
        plan.train(path, 1.0).expect("trained");
    }
    net.apply(&plan, &mut []).expect("applied");
    let audit = audit(&net, |m| loss(m, &x)).expect("an audit");
    audit.ensure_clean().expect("no faults");
    let unread = audit.findings().into_iter().map(|finding| match finding {
        Finding::UnreadGradients { path, .. } => path,
        other => panic!("{other}"),
    });
    let unread: Vec<String> = unread.collect();
    let frozen = audit.leaves().iter().filter_map(|leaf| match leaf.outcome {
        Outcome::Frozen(work) => {
            let whole = matches!(work, FrozenWork::Whole { .. });
            assert_eq!(unread.contains(&leaf.path), whole);
            Some(work)
        }
        _ => None,
    });
    frozen.collect()
}

#[test]
fn frozen_leaves_above_a_trained_one_cost_work() {
    let stock = || Stock::new(4).expect("a model");
    let lean = || Lean::new(4).expect("a model");
    // The weight, and the bias spread over the batch of four.
    let whole = FrozenWork::Whole { bytes: 4 * (WIDTH * WIDTH + 4 * WIDTH) };
    let (none, input) = (FrozenWork::None, FrozenWork::Input);
    let cases: [(&[&str], Vec<FrozenWork>, Vec<FrozenWork>); 5] = [
        (&[], vec![none; 4], vec![none; 4]),
        (&["layers.3"], vec![none; 3], vec![none; 3]),
        (&["layers.0", "layers.3"], vec![whole; 2], vec![input; 2]),
        (&["layers.1"], vec![none, whole, whole], vec![none, input, input]),
        (&["layers.*"], vec![], vec![]),
    ];
    for (trained, with_stock, with_lean) in cases {
        assert_eq!(work(stock(), trained), with_stock, "{trained:?}");
        assert_eq!(work(lean(), trained), with_lean, "{trained:?}");
    }
}

/// The step itself, two that repeat it, and one each with all frozen and all trained. candle's layer
/// that trains leaves a gradient for its input, so a frozen leaf that were tried would cost a step.
#[test]
fn frozen_leaves_in_front_of_all_that_train_are_not_tried() {
    let (x, calls) = (batch(), Cell::new(0));
    let mut net = freezer(Stock::new(4));
    net.freeze_front(3, &mut []).expect("frozen");
    let audit = audit(&net, |m| {
        calls.set(calls.get() + 1);
        loss(m, &x)
    });
    let outcome = Outcome::Frozen(FrozenWork::None);
    assert!(audit.expect("an audit").leaves()[..3].iter().all(|leaf| leaf.outcome == outcome));
    assert_eq!(calls.get(), 1 + 2 + 1 + 1);
}

/// Layers of both kinds in one model.
#[derive(Freezable)]
struct Mixed {
    first: Linear,
    stock: Linear,
    ours: nn::Linear,
    last: nn::Linear,
}

#[test]
fn layers_of_both_kinds_mix_in_one_model() {
    let (x, vb) = (batch(), builder());
    let part = |name: &str| linear(WIDTH, WIDTH, vb.pp(name)).expect("a layer");
    let (ours, last) = (part("ours").into(), part("last").into());
    let mut net = freezer(Ok(Mixed { first: part("first"), stock: part("stock"), ours, last }));
    let mut plan = FreezePlan::all_trained(net.whole()).expect("a plan");
    plan.freeze("stock").and_then(|plan| plan.freeze("ours")).expect("frozen");
    net.apply(&plan, &mut []).expect("applied");
    let forward = |m: &Mixed| {
        let x = m.stock.forward(&m.first.forward(&x)?)?;
        m.last.forward(&m.ours.forward(&x)?)?.sqr()?.mean_all()
    };
    let audit = audit(&net, forward).expect("an audit");
    let outcomes: Vec<&Outcome> = audit.leaves().iter().map(|leaf| &leaf.outcome).collect();
    let bytes = 4 * (WIDTH * WIDTH + 4 * WIDTH);
    let frozen = [FrozenWork::Whole { bytes }, FrozenWork::Input].map(Outcome::Frozen);
    let trained = Outcome::Trained;
    assert_eq!(outcomes, [&trained, &frozen[0], &frozen[1], &trained]);
    assert!(audit.to_string().contains(&format!("{bytes} bytes of unread gradients")));
}

/// Four layers, called in the order of the indices.
fn chained<L: Module>(layers: &[L], order: [usize; 4], x: &Tensor) -> Result<Tensor> {
    let last = order.iter().try_fold(x.clone(), |x, &i| layers[i].forward(&x)?.tanh())?;
    last.sqr()?.mean_all()
}

/// The order of the calls, and each leaf that is out of order with those it runs behind.
type Case = ([usize; 4], &'static [(usize, &'static [usize])]);

#[test]
fn leaves_declared_against_the_data_flow_are_named() {
    let x = batch();
    let cases: [Case; 4] = [
        ([0, 1, 2, 3], &[]),
        ([3, 2, 1, 0], &[(0, &[1, 2, 3]), (1, &[2, 3]), (2, &[3])]),
        ([0, 2, 1, 3], &[(1, &[2])]),
        ([3, 0, 1, 2], &[(0, &[3]), (1, &[3]), (2, &[3])]),
    ];
    let path = |i: &usize| format!("layers.{i}");
    for (order, expected) in cases {
        let expected: Vec<Finding> = expected
            .iter()
            .map(|(leaf, behind)| Finding::OutOfOrder {
                path: path(leaf),
                runs_behind: behind.iter().map(path).collect(),
            })
            .collect();
        for frozen in [0, 2] {
            let mut stock = freezer(Stock::new(4));
            stock.freeze_front(frozen, &mut []).expect("a plan");
            let audit_stock = audit(&stock, |m| chained(&m.layers, order, &x)).expect("an audit");
            let mut lean = freezer(Lean::new(4));
            lean.freeze_front(frozen, &mut []).expect("a plan");
            let audit_lean = audit(&lean, |m| chained(&m.layers, order, &x)).expect("an audit");
            for audit in [audit_stock, audit_lean] {
                let faults = audit.findings().into_iter().filter(Finding::is_fault);
                assert_eq!(faults.collect::<Vec<_>>(), expected, "{order:?} {frozen}");
                assert_eq!(audit.ensure_clean().is_ok(), expected.is_empty());
            }
        }
    }
}

#[test]
fn branches_have_no_order() {
    let x = batch();
    let net = freezer(Stock::new(3));
    // Layers 0 and 1 read the same input; 1 is used first.
    let audit = audit(&net, |m| {
        let sum = (m.layers[1].forward(&x)? + m.layers[0].forward(&x)?)?;
        m.layers[2].forward(&sum)?.sqr()?.mean_all()
    })
    .expect("an audit");
    assert_eq!(audit.findings(), []);
}
