//! Gradients of micro-batches add up to that of the batch.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Module, Optimizer};
use freeze_core::optim::{GradAccumulator, ParamsSgd, Sgd};
use freeze_core::{Freezer, Result};

use super::plans::{Net, net};
use super::{CPU, largest_gap, store};

fn loss(net: &Freezer<Net>, x: &Tensor) -> candle_core::Result<Tensor> {
    net.forward(x)?.sqr()?.mean_all()
}

#[test]
fn uneven_micro_batches_are_the_batch() -> Result<()> {
    let net = net()?;
    let x = Tensor::randn(0f32, 1., (12, 4), &CPU)?;
    let whole = loss(&net, &x)?.backward()?;
    let mut sums = GradAccumulator::new(net.vars());
    for (start, len) in [(0, 5), (5, 3), (8, 4)] {
        sums.accumulate_weighted(&loss(&net, &x.narrow(0, start, len)?)?, len as f64)?;
    }
    let sum = sums.take()?;
    for var in net.vars() {
        let (sum, whole) = (sum.get(&var).unwrap(), whole.get(&var).unwrap());
        assert!(largest_gap(sum, whole)? < 1e-6);
    }
    Ok(())
}

#[test]
fn frozen_gradients_are_not_kept_and_sums_are_detached() -> Result<()> {
    let mut net = net()?;
    let mut opt = Sgd::new(net.vars(), ParamsSgd::default())?;
    let mut sums = GradAccumulator::new(net.vars());
    let x = Tensor::randn(0f32, 1., (3, 4), &CPU)?;
    net.freeze_upto(1, &mut [&mut opt])?;
    for _ in 0..2 {
        sums.accumulate(&loss(&net, &x)?)?;
    }
    assert_eq!(sums.bytes(), (16 + 4 + 8 + 2) * 4);
    let grads = sums.take()?;
    let trained = net.trained_vars();
    assert_eq!(grads.get_ids().count(), trained.len());
    assert!(trained.iter().all(|var| !grads.get(var).unwrap().track_op()));
    assert_eq!(sums.bytes(), 0, "taking them starts anew");
    Ok(())
}

#[test]
fn a_step_uses_the_mean_and_starts_anew() -> Result<()> {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let var = Var::zeros(1, dtype, &CPU)?;
        let mut opt = Sgd::new(vec![var.clone()], ParamsSgd { lr: 1.0, ..Default::default() })?;
        let mut sums = GradAccumulator::new(vec![var.clone()]);
        for expected in [-2.0, -4.0] {
            for grad in [1.0, 3.0] {
                sums.accumulate(&(var.as_tensor() * grad)?.sum_all()?)?;
            }
            sums.step(&mut opt)?;
            let now = var.to_dtype(DType::F64)?.get(0)?.to_scalar::<f64>()?;
            assert_eq!(now, expected, "{dtype:?}");
        }
    }
    Ok(())
}

#[test]
fn small_gradients_are_not_lost_in_half_precision() -> Result<()> {
    let var = Var::zeros(1, DType::BF16, &CPU)?;
    let mut sums = GradAccumulator::new(vec![var.clone()]);
    let grad = |g: f32| Tensor::new(&[g], &CPU)?.to_dtype(DType::BF16);
    sums.accumulate_grads(store([(&var, grad(256.0)?)]), 1.0)?;
    for _ in 0..256 {
        sums.accumulate_grads(store([(&var, grad(1.0)?)]), 1.0)?;
    }
    let mean = sums.take()?.get(&var).unwrap().to_dtype(DType::F32)?.get(0)?.to_scalar::<f32>()?;
    // In bf16 the sum would stay at 256, its neighbour being 258.
    assert!((mean - 512.0 / 257.0).abs() < 0.01, "{mean}");
    Ok(())
}

#[test]
fn the_gradients_handed_over_are_not_written_to() -> Result<()> {
    let var = Var::zeros(2, DType::F32, &CPU)?;
    let mine = Tensor::new(&[1f32, 2.0], &CPU)?;
    let mut sums = GradAccumulator::new(vec![var.clone()]);
    for _ in 0..3 {
        sums.accumulate_grads(store([(&var, mine.clone())]), 1.0)?;
    }
    assert_eq!(mine.to_vec1::<f32>()?, [1.0, 2.0]);
    for wrong in [0.0, -1.0, f64::NAN] {
        assert!(sums.accumulate_grads(store([]), wrong).is_err());
    }
    let misshaped = Tensor::zeros(3, DType::F32, &CPU)?;
    assert!(sums.accumulate_grads(store([(&var, misshaped)]), 1.0).is_err());
    assert_eq!(sums.take()?.get(&var).unwrap().to_vec1::<f32>()?, [1.0, 2.0]);
    let mut opt = Sgd::new(vec![var], ParamsSgd::default())?;
    assert!(sums.step(&mut opt).is_err(), "a step with nothing added");
    opt.set_learning_rate(0.0);
    Ok(())
}
