//! Gradients of micro-batches add up to that of the batch.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Module, Optimizer};
use freeze_core::optim::{GradAccumulator, ParamsSgd, Sgd};
use freeze_core::{Freezer, Result};

use super::plans::{Net, net};
use super::{CPU, bits, largest_gap, store};

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
    net.freeze_front(1, &mut [&mut opt])?;
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
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
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

/// The gradient of a sum is 1 for each parameter that it reaches.
fn reach(net: &Freezer<Net>, sums: &mut GradAccumulator, factor: f64) -> Result<()> {
    let ones = |var: &Tensor| var.ones_like()? * factor;
    let (all, trained) = (net.vars(), net.trained_vars());
    let reached = all.iter().filter(|var| trained.iter().any(|trained| trained.id() == var.id()));
    let grads = reached.map(|var| Ok((var, ones(var)?)));
    sums.accumulate_grads(store(grads.collect::<candle_core::Result<Vec<_>>>()?), 1.0)
}

/// What the mean gradient of the first leaf and of the last is; `None` where there is none.
fn means(net: &Freezer<Net>, sums: &mut GradAccumulator) -> Result<[Option<f32>; 2]> {
    let (grads, vars) = (sums.take()?, net.vars());
    let first = |var: &Var| -> Result<Option<f32>> {
        let grad = grads.get(var).map(|grad| grad.flatten_all()?.get(0)?.to_scalar());
        Ok(grad.transpose()?)
    };
    Ok([first(&vars[0])?, first(&vars[5])?])
}

#[test]
fn the_mean_of_a_leaf_is_over_the_micro_batches_in_which_it_trained() -> Result<()> {
    // How many leaves are frozen during each micro-batch of gradient 1, 2, 3.
    for (frozen, expected) in [
        ([0, 0, 0], [Some(2.0), Some(2.0)]),
        ([1, 0, 0], [Some(2.5), Some(2.0)]),
        ([1, 1, 0], [Some(3.0), Some(2.0)]),
        ([0, 1, 1], [None, Some(2.0)]),
        ([0, 1, 0], [Some(3.0), Some(2.0)]),
        ([3, 3, 3], [None, None]),
    ] {
        let mut net = net()?;
        let mut sums = GradAccumulator::new(net.vars());
        for (frozen, factor) in frozen.into_iter().zip([1.0, 2.0, 3.0]) {
            net.freeze_front(frozen, &mut [])?;
            sums.follow(&net.planned_vars());
            reach(&net, &mut sums, factor)?;
        }
        assert_eq!(means(&net, &mut sums)?, expected, "{frozen:?}");
        assert_eq!(means(&net, &mut sums)?, [None, None], "taking them starts anew");
    }
    Ok(())
}

/// candle's `SGD` knows no plan: it updates whatever has a gradient.
#[test]
fn what_was_gathered_before_a_freeze_moves_nothing() -> Result<()> {
    let mut net = net()?;
    let mut opt = candle_nn::SGD::new(net.vars(), 0.5)?;
    let mut sums = GradAccumulator::new(net.vars());
    reach(&net, &mut sums, 1.0)?;
    let held = sums.bytes();
    net.freeze_front(2, &mut [&mut opt])?;
    sums.follow(&net.planned_vars());
    assert_eq!(sums.bytes(), held - 2 * (16 + 4) * 4, "let go at once");
    let before = net.vars().iter().map(|var| bits(var)).collect::<candle_core::Result<Vec<_>>>()?;
    sums.step(&mut opt)?;
    for (i, (var, before)) in net.vars().iter().zip(before).enumerate() {
        assert_eq!(bits(var)? == before, i < 4, "variable {i}");
    }
    reach(&net, &mut sums, 1.0)?;
    sums.clear();
    assert_eq!((sums.bytes(), sums.take()?.get_ids().count()), (0, 0));
    Ok(())
}

#[test]
fn weights_of_any_size_give_the_mean() -> Result<()> {
    for dtype in [DType::BF16, DType::F32, DType::F64] {
        for weights in [
            [1.0, 1.0, 2.0],
            [2.0, 1.0, 1.0],
            [1e-39, 1e-39, 2e-39],
            [1e-310, 1e-310, 2e-310],
            [8e307, 8e307, 1.6e308],
            [1e-310, 1e-310, 1e308],
            [1e308, 1e-310, 1e-310],
        ] {
            let var = Var::zeros(1, dtype, &CPU)?;
            let mut sums = GradAccumulator::new(vec![var.clone()]);
            let largest = weights.into_iter().fold(0.0, f64::max);
            let [a, b, c] = weights.map(|weight| weight / largest);
            let expected = (a + 3.0 * b) / (a + b + c);
            for (grad, weight) in [1.0, 3.0].into_iter().zip(weights) {
                sums.accumulate_weighted(&(var.as_tensor() * grad)?.sum_all()?, weight)?;
            }
            // One of no gradient at all.
            sums.accumulate_grads(store([]), weights[2])?;
            let mean = sums.take()?.get(&var).unwrap().to_dtype(DType::F64)?.get(0)?;
            let mean = mean.to_scalar::<f64>()?;
            assert!((mean - expected).abs() <= 1e-2 * expected, "{mean} of {weights:?}");
        }
    }
    Ok(())
}
