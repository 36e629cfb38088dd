//! What the hook sees in a step that trains.

use candle_core::{Result, Tensor, Var};
use candle_nn::{LayerNorm, Module};
use freeze_core::audit::{Cause, Finding, glance};
use freeze_core::{Freezable, Freezer};

use crate::models::{Lean, Normed, Stock, batch, freezer, loss};

fn seen<M: Freezable>(net: &Freezer<M>, loss: Result<Tensor>) -> Vec<Finding> {
    let loss = loss.expect("a loss");
    glance(net, &loss, &loss.backward().expect("gradients")).expect("a glance")
}

#[test]
fn one_step_shows_what_is_wrong() {
    let x = batch();
    for frozen in [0, 2, 3] {
        let mut net = freezer(Stock::new(3));
        net.freeze_front(frozen, &mut []).expect("a plan");
        assert_eq!(seen(&net, loss(&*net, &x)), [], "{frozen}");
        let past: Vec<String> = (0..frozen)
            .flat_map(|i| ["weight", "bias"].map(|p| format!("layers.{i}.{p}")))
            .collect();
        let expected = match frozen {
            0 => vec![],
            _ => vec![Finding::PastTheModel { names: past }],
        };
        assert_eq!(seen(&net, loss(net.whole(), &x)), expected, "{frozen}");
    }
    let net = freezer(Normed::<LayerNorm>::new());
    let names = ["stem", "body", "norm"].map(str::to_string).to_vec();
    let missing = Finding::NoGradient { names, cause: Cause::NotTried };
    assert_eq!(seen(&net, loss(&*net, &x)), [missing]);

    let net = freezer(Lean::new(3));
    assert_eq!(seen(&net, loss(&*net, &x).and_then(|l| l / 0.0)), [Finding::NonFiniteLoss]);
    let other = Var::zeros((4, 6), x.dtype(), x.device()).expect("a variable");
    let outside = Finding::OutsideTheModel { shapes: vec![vec![4, 6]] };
    assert_eq!(seen(&net, (&x + other.as_tensor()).and_then(|x| loss(&*net, &x))), [outside]);

    let chained = |order: [usize; 3]| {
        let ys = order.iter().try_fold(x.clone(), |x, &i| net.layers[i].forward(&x));
        ys.and_then(|ys| ys.sqr()?.mean_all())
    };
    // A tied table is frozen, the head that holds it too trains: the table is not what runs last.
    let mut layers = freezer(Stock::new(4)).into_whole();
    layers.layers[0] = layers.layers[3].clone();
    let mut tied = freezer(Ok(layers));
    for frozen in [0, 1, 3] {
        tied.freeze_front(frozen, &mut []).expect("a plan");
        assert_eq!(seen(&tied, loss(&*tied, &x)), [], "{frozen}");
    }

    let last = Finding::FirstRunsLast { path: "layers.0".to_string() };
    for (order, expected) in
        [([0, 1, 2], vec![]), ([1, 2, 0], vec![last]), ([1, 0, 2], vec![]), ([0, 2, 1], vec![])]
    {
        assert_eq!(seen(&net, chained(order)), expected, "{order:?}");
    }
    // Of two leaves the order says too little.
    let pair = freezer(Lean::new(2));
    let ys = pair.layers[1].forward(&x).and_then(|x| pair.layers[0].forward(&x));
    assert_eq!(seen(&pair, ys.and_then(|ys| ys.sqr()?.mean_all())), []);
}
