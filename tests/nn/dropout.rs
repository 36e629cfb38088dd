//! Dropout: its rate, its stream of random numbers, and where freezing turns it off.

use candle_core::{DType, Device, ModuleT, Tensor, Var};
use candle_nn::{Linear, VarBuilder, VarMap, linear};
use freeze_core::nn::{Dropout, DropoutState};
use freeze_core::{BatchNormPolicy, Freezable, Freezer};
use proptest::prelude::*;

fn ones(len: usize) -> Tensor {
    Tensor::ones(len, DType::F32, &Device::Cpu).unwrap()
}

fn draw(dropout: &Dropout, len: usize) -> Vec<f32> {
    dropout.forward_t(&ones(len), true).unwrap().to_vec1().unwrap()
}

#[test]
fn the_share_and_the_scale_are_right() {
    const LEN: usize = 200_000;
    for p in [0.0f32, 0.1, 0.5, 0.9, 0.999] {
        let dropout = Dropout::new(p, 3).unwrap();
        assert_eq!(dropout.p(), p);
        let values = draw(&dropout, LEN);
        let zeros = values.iter().filter(|v| **v == 0.0).count();
        let kept = (1.0 / (1.0 - f64::from(p))) as f32;
        assert!(values.iter().all(|v| *v == 0.0 || *v == kept), "{p}");
        let (p, n) = (f64::from(p), LEN as f64);
        // Five standard deviations of a binomial distribution.
        let allowed = 5.0 * (n * p * (1.0 - p)).sqrt();
        assert!((zeros as f64 - n * p).abs() <= allowed, "{p}: {zeros} of {LEN}");
    }
}

#[test]
fn wrong_probabilities_are_errors() {
    for p in [-0.1, 1.0, 1.5, f32::NAN, f32::INFINITY] {
        let error = Dropout::new(p, 0).unwrap_err().to_string();
        assert!(error.contains("expected a probability of at least 0 and below 1"), "{error}");
    }
    let whole = Tensor::ones(3, DType::U32, &Device::Cpu).unwrap();
    assert!(Dropout::new(0.5, 0).unwrap().forward(&whole, true).is_err());
}

#[test]
fn a_seed_decides_every_draw() {
    let (a, b, c) = (Dropout::new(0.5, 1), Dropout::new(0.5, 1), Dropout::new(0.5, 2));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    let first = draw(&a, 100);
    assert_eq!(first, draw(&b, 100));
    assert_ne!(first, draw(&c, 100));
    assert_ne!(first, draw(&a, 100));
}

#[test]
fn outside_training_nothing_is_dropped_or_drawn() {
    let dropout = Dropout::new(0.5, 1).unwrap();
    let before = dropout.state();
    let x = ones(50);
    assert_eq!(dropout.forward_t(&x, false).unwrap().id(), x.id());
    assert_eq!(dropout.state(), before);
    draw(&dropout, 50);
    assert_eq!(dropout.state(), DropoutState { seed: 1, position: 50 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However often and wherever a run is stopped, saved and taken up again.
    #[test]
    fn a_saved_state_continues_the_stream(
        seed in any::<u64>(),
        lens in proptest::collection::vec(1usize..400, 1..6),
        stop in 0usize..6,
    ) {
        let straight = Dropout::new(0.3, seed).unwrap();
        let expected: Vec<_> = lens.iter().map(|len| draw(&straight, *len)).collect();
        let mut dropout = Dropout::new(0.3, seed).unwrap();
        for (step, (len, expected)) in lens.iter().zip(&expected).enumerate() {
            if step == stop {
                let saved = serde_json::to_string(&dropout.state()).unwrap();
                dropout = Dropout::new(0.3, 0).unwrap();
                dropout.set_state(serde_json::from_str(&saved).unwrap());
            }
            prop_assert_eq!(&draw(&dropout, *len), expected);
        }
    }
}

#[test]
fn the_gradient_passes_where_the_value_did() {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let values = Tensor::arange(1f32, 601., &Device::Cpu).unwrap();
        let x = values.reshape((20, 30)).unwrap().to_dtype(dtype).unwrap();
        let x = Var::from_tensor(&x).unwrap();
        // Strided, so that positions must not be confused.
        let y = Dropout::new(0.5, 9).unwrap().forward_t(&x.t().unwrap(), true).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        let scaled = (grads.get(&x).unwrap().t().unwrap() * x.t().unwrap()).unwrap();
        let same = scaled.eq(&y).unwrap().to_dtype(DType::F64).unwrap();
        assert_eq!(same.mean_all().unwrap().to_scalar::<f64>().unwrap(), 1.0, "{dtype:?}");
    }
    // A dropped value is gone even where it was no number.
    let nan = Tensor::full(f32::NAN, 100, &Device::Cpu).unwrap();
    let y: Vec<f32> = Dropout::new(0.5, 9).unwrap().forward(&nan, true).unwrap().to_vec1().unwrap();
    assert!(y.contains(&0.0) && y.iter().any(|y| y.is_nan()));
    let plain = Dropout::new(0.5, 9).unwrap().forward(&ones(3), true).unwrap();
    assert!(!plain.track_op());
}

#[derive(Freezable)]
struct Block {
    fc: Linear,
    drop: Dropout,
    more: Vec<Dropout>,
}

#[derive(Freezable)]
struct Net {
    blocks: Vec<Block>,
    drop: Dropout,
    #[freeze(unit)]
    unit: Block,
}

fn block() -> Block {
    let fc =
        linear(2, 2, VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu)).unwrap();
    let drop = || Dropout::new(0.5, 1).unwrap();
    Block { fc, drop: drop(), more: vec![drop()] }
}

fn net() -> Freezer<Net> {
    let drop = Dropout::new(0.5, 1).unwrap();
    Freezer::new(Net { blocks: vec![block(), block()], drop, unit: block() }).unwrap()
}

/// Whether a dropout of the view drops, for each in order.
fn active(net: &Net) -> Vec<bool> {
    let blocks = net.blocks.iter().flat_map(|block| [&block.drop, &block.more[0]]);
    let all = blocks.chain([&net.drop, &net.unit.drop, &net.unit.more[0]]);
    all.map(|dropout| draw(dropout, 64).contains(&0.0)).collect()
}

#[test]
fn it_is_off_in_a_struct_that_is_frozen_under_the_inference_policy() {
    let rows = [
        (0, [true, true, true, true, true, true, true]),
        (1, [false, false, true, true, true, true, true]),
        (2, [false, false, false, false, true, true, true]),
        (3, [false; 7]),
        // Thawed again.
        (1, [false, false, true, true, true, true, true]),
        (0, [true; 7]),
    ];
    let (mut net, mut as_caller) = (net(), net());
    net.set_batch_norm(BatchNormPolicy::Inference).unwrap();
    for (frozen, expected) in rows {
        net.freeze_front(frozen, &mut []).unwrap();
        assert_eq!(active(&net), expected, "{frozen} frozen");
        assert_eq!(active(net.whole()), [true; 7]);
        as_caller.freeze_front(frozen, &mut []).unwrap();
        assert_eq!(active(&as_caller), [true; 7], "{frozen} frozen");
    }
}

/// Paths are compared by segments: `blocks.1` does not enclose `blocks.10`.
#[test]
fn paths_that_begin_alike_are_not_confused() {
    let mut net = Freezer::new((0..11).map(|_| block()).collect::<Vec<_>>()).unwrap();
    net.set_batch_norm(BatchNormPolicy::Inference).unwrap();
    net.freeze_front(10, &mut []).unwrap();
    let active: Vec<bool> = net.iter().map(|b| draw(&b.drop, 64).contains(&0.0)).collect();
    assert_eq!(active, [[false; 10].as_slice(), &[true]].concat());
}

#[test]
fn views_share_the_generator() {
    let mut net = net();
    draw(&net.drop, 10);
    net.freeze_front(1, &mut []).unwrap();
    draw(&net.drop, 10);
    assert_eq!(net.drop.state().position, 20);
    assert_eq!(net.whole().drop.state().position, 20);
    net.whole().drop.set_state(DropoutState { seed: 4, position: 2 });
    assert_eq!(net.drop.state().seed, 4);
    assert_eq!(net.leaves().unwrap().len(), 3);
}
