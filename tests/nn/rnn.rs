//! The recurrent layers: candle's numbers and names, with tensors that can be frozen.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::Direction;
use candle_nn::{VarBuilder, VarMap};
use freeze_core::Freezable;
use freeze_core::nn::{self, GRUConfig, LSTMConfig, RNN};

use crate::support::random as drawn;

const IN: usize = 3;
const HIDDEN: usize = 4;

fn random(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::randn(0f64, 1.0, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn bits(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (bits(found), bits(expected));
    let scale = expected.iter().fold(1.0f64, |max, e| max.max(e.abs()));
    found.iter().zip(&expected).map(|(f, e)| (f - e).abs() / scale).fold(0.0, f64::max)
}

/// Outputs and gradients are the same to a few units of the last place: their products are taken in
/// another order.
fn assert_same<A: RNN, B: RNN>(ours: &A, stock: &B, vars: &HashMap<String, Var>, dtype: DType) {
    // The same numbers each time: of chance ones a sum now and then cancels, and is off by more.
    for (seed, name) in (1..).zip(names(vars)) {
        vars[&name].set(&drawn(seed, vars[&name].dims(), dtype)).unwrap();
    }
    let x = Var::from_tensor(&drawn(0, &[2, 5, IN][..], dtype)).unwrap();
    let run = |out: Result<Tensor>| {
        let out = out.unwrap();
        let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        (out, grads)
    };
    let (y, grads) = run(ours.seq(&x).and_then(|states| ours.states_to_tensor(&states)));
    let allowed = if dtype == DType::F64 { 1e-14 } else { 1e-6 };
    let (expected, wanted) = run(stock.seq(&x).and_then(|states| stock.states_to_tensor(&states)));
    assert_eq!(y.dims(), expected.dims());
    assert!(distance(&y, &expected) < allowed);
    assert!(distance(grads.get(&x).unwrap(), wanted.get(&x).unwrap()) < allowed);
    for (name, var) in vars {
        let (grad, wanted) = (grads.get(var).expect(name), wanted.get(var).expect(name));
        let off = distance(grad, wanted);
        assert!(off < allowed, "{name} is off by {off:e}");
    }
}

fn names(vars: &HashMap<String, Var>) -> Vec<String> {
    let mut names: Vec<String> = vars.keys().cloned().collect();
    names.sort();
    names
}

fn sorted(layer: &impl Freezable) -> Vec<String> {
    let mut names: Vec<_> = layer.named_vars().unwrap().into_iter().map(|(n, _)| n).collect();
    names.sort();
    names
}

#[test]
fn lstm_gives_candles_numbers() {
    let backward =
        LSTMConfig { layer_idx: 2, direction: Direction::Backward, ..Default::default() };
    for config in [LSTMConfig::default(), LSTMConfig::default_no_bias(), backward] {
        for dtype in [DType::F32, DType::F64] {
            let map = VarMap::new();
            let vb = || VarBuilder::from_varmap(&map, dtype, &Device::Cpu);
            let stock = candle_nn::lstm(IN, HIDDEN, config, vb()).unwrap();
            let vars = map.data().lock().unwrap().clone();
            let ours = nn::lstm(IN, HIDDEN, config, vb()).unwrap();
            assert_eq!(map.all_vars().len(), vars.len());
            assert_same(&ours, &stock, &vars, dtype);
            assert_eq!(sorted(&ours), names(&vars));
            assert_eq!(ours.bias_ih().is_some(), config.b_ih_init.is_some());
        }
    }
}

#[test]
fn gru_gives_candles_numbers() {
    for config in [GRUConfig::default(), GRUConfig::default_no_bias()] {
        for dtype in [DType::F32, DType::F64] {
            let map = VarMap::new();
            let vb = || VarBuilder::from_varmap(&map, dtype, &Device::Cpu);
            let stock = candle_nn::gru(IN, HIDDEN, config, vb()).unwrap();
            let vars = map.data().lock().unwrap().clone();
            let ours = nn::gru(IN, HIDDEN, config, vb()).unwrap();
            assert_same(&ours, &stock, &vars, dtype);
            assert_eq!(sorted(&ours), names(&vars));
            assert_eq!(ours.weight_hh().dims(), [3 * HIDDEN, HIDDEN]);
        }
    }
}

#[test]
fn a_state_can_be_handed_in() {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let lstm = nn::lstm(IN, HIDDEN, LSTMConfig::default(), vb).unwrap();
    let x = random(&[2, 6, IN], DType::F32);
    let whole = lstm.seq(&x).unwrap();
    let front = lstm.seq(&x.narrow(1, 0, 3).unwrap()).unwrap();
    let back = lstm.seq_init(&x.narrow(1, 3, 3).unwrap(), &front[2]).unwrap();
    assert_eq!(bits(&whole[5].h), bits(&back[2].h));
    assert_eq!(bits(&whole[5].c), bits(&back[2].c));
}

#[test]
fn frozen_layers_record_nothing_and_share_their_storage() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let (lstm, gru) = (
        nn::lstm(IN, HIDDEN, LSTMConfig::default(), vb.pp("lstm")).unwrap(),
        nn::gru(IN, HIDDEN, GRUConfig::default(), vb.pp("gru")).unwrap(),
    );
    let model = (lstm, gru);
    let x = random(&[2, 2, IN], DType::F32);
    for (frozen, lstm_tracked, gru_tracked) in
        [(0, true, true), (1, false, true), (2, false, false)]
    {
        let view = model.freeze_upto(frozen).unwrap();
        assert_eq!(view.0.seq(&x).unwrap()[1].h.track_op(), lstm_tracked);
        assert_eq!(view.1.seq(&x).unwrap()[1].h.track_op(), gru_tracked);
    }
    let view = model.freeze_upto(2).unwrap();
    let before = bits(&view.1.seq(&x).unwrap()[1].h);
    for var in map.all_vars() {
        var.set(&random(var.dims(), DType::F32)).unwrap();
    }
    let after = bits(&view.1.seq(&x).unwrap()[1].h);
    assert_ne!(before, after);
    assert_eq!(after, bits(&model.1.seq(&x).unwrap()[1].h));
    let paths: Vec<_> = model.leaves().unwrap().into_iter().map(|l| (l.path, l.kind)).collect();
    assert_eq!(paths, [("0".to_string(), "Lstm"), ("1".to_string(), "Gru")]);
}

/// candle's matmul would compute the gradients of frozen weights all the same.
#[test]
fn a_frozen_layer_in_the_middle_computes_no_weight_gradient() {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let layer = nn::lstm(IN, HIDDEN, LSTMConfig::default(), vb).unwrap();
    let x = Var::from_tensor(&random(&[2, 3, IN], DType::F32)).unwrap();
    let weights = [4 * HIDDEN * IN, 4 * HIDDEN * HIDDEN, 4 * HIDDEN];
    for (frozen, expected) in [(0, 4), (1, 0)] {
        let view = layer.freeze_upto(frozen).unwrap();
        let h = view.seq(&x).unwrap()[2].h.clone();
        let grads = h.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let sizes = grads.get_ids().map(|id| grads.get_id(*id).unwrap().elem_count());
        assert_eq!(sizes.filter(|size| weights.contains(size)).count(), expected);
        assert!(grads.get(&x).is_some());
    }
}
