//! After an audit, whatever becomes of it, every tensor is what it was, bit by bit.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Result, Tensor};
use candle_nn::{BatchNorm, LayerNorm, Linear, Module, ModuleT, batch_norm, layer_norm, linear};
use freeze_core::audit::audit;
use freeze_core::{Freezable, nn};

use crate::models::{WIDTH, batch, builder, freezer};

#[derive(Freezable)]
struct Net {
    stem: Linear,
    stock: BatchNorm,
    ours: nn::BatchNorm,
    norm: LayerNorm,
    unused: Linear,
    head: Linear,
}

impl Net {
    fn new() -> Result<Self> {
        let vb = builder();
        let part = |name: &str| linear(WIDTH, WIDTH, vb.pp(name));
        Ok(Self {
            stem: part("stem")?,
            stock: batch_norm(WIDTH, 1e-5, vb.pp("stock"))?,
            ours: nn::batch_norm(WIDTH, 1e-5, vb.pp("ours"))?,
            norm: layer_norm(WIDTH, 1e-5, vb.pp("norm"))?,
            unused: part("unused")?,
            head: part("head")?,
        })
    }

    fn loss(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.stock.forward_t(&self.stem.forward(x)?, true)?;
        let x = self.ours.forward_t(&x, true)?;
        self.head.forward(&self.norm.forward(&x.contiguous()?)?)?.sqr()?.mean_all()
    }
}

fn bits(net: &Net) -> Vec<(String, Vec<u64>)> {
    let tensors = net.named_tensors().expect("tensors");
    let bits = |tensor: Tensor| {
        let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)).expect("numbers");
        let values = flat.to_vec1::<f64>().expect("numbers");
        values.into_iter().map(f64::to_bits).collect()
    };
    tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

#[test]
fn weights_and_statistics_are_put_back() {
    let x = batch();
    let mut net = freezer(Net::new());
    for frozen in [0, 2, 5] {
        net.freeze_front(frozen, &mut []).expect("a plan");
        let before = (bits(net.whole()), bits(&net));
        let audit = audit(&net, |m| m.loss(&x)).expect("an audit");
        assert!(audit.ensure_clean().is_err() == (frozen < 5));
        assert!((bits(net.whole()), bits(&net)) == before);
    }
    // A step through the view does move the statistics.
    let before = bits(net.whole());
    net.thaw(&mut []).expect("a plan");
    net.loss(&x).expect("a loss");
    assert!(bits(net.whole()) != before);
}

/// How an evaluation ends badly.
#[derive(Clone, Copy)]
enum End {
    Error,
    Panic,
}

#[test]
fn a_loss_that_fails_on_the_way_leaves_no_trace() {
    let x = batch();
    let net = freezer(Net::new());
    let before = bits(net.whole());
    let calls = Cell::new(0);
    audit(&net, |m| m.loss(&x).inspect(|_| calls.set(calls.get() + 1))).expect("an audit");
    let whole = calls.get();
    // The step, two repetitions, at least one trial of each leaf in doubt.
    assert!(whole >= 3 + 5, "{whole} calls");
    for end in [End::Error, End::Panic] {
        for fatal in 1..=whole {
            calls.set(0);
            let run = || {
                audit(&net, |m| {
                    let loss = m.loss(&x)?;
                    calls.set(calls.get() + 1);
                    match (calls.get() == fatal, end) {
                        (false, _) => Ok(loss),
                        (true, End::Error) => candle_core::bail!("no loss"),
                        (true, End::Panic) => std::panic::resume_unwind(Box::new("no loss")),
                    }
                })
            };
            match (end, catch_unwind(AssertUnwindSafe(run))) {
                (End::Error, Ok(result)) => {
                    assert!(result.expect_err("an error").to_string().contains("no loss"));
                }
                (End::Panic, result) => assert!(result.is_err()),
                (End::Error, Err(_)) => panic!("an error became a panic"),
            }
            assert!(bits(net.whole()) == before, "call {fatal}");
        }
    }
}

#[derive(Freezable)]
struct Noisy {
    fc: Linear,
    drop: nn::Dropout,
}

#[test]
fn dropouts_that_another_thread_draws_from_are_put_back() {
    let (x, drop) = (batch(), nn::Dropout::new(0.5, 1).expect("a dropout"));
    let fc = linear(WIDTH, WIDTH, builder()).expect("a layer");
    let net = freezer(Ok(Noisy { fc, drop }));
    let before = net.drop.state();
    let elsewhere = |net: &Noisy| {
        let draw = || net.drop.forward(&net.fc.forward(&x)?, true)?.sqr()?.mean_all();
        std::thread::scope(|scope| scope.spawn(draw).join().expect("a loss"))
    };
    audit(&net, elsewhere).and_then(|audit| audit.ensure_clean()).expect("no fault");
    assert_eq!(net.drop.state(), before);
}
