//! The numbers of `candle_nn::AdamW`.

use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, loss::mse};
use freeze_core::optim::{AdamW, ParamsSgd, PerParam, Sgd};
use proptest::prelude::*;

use super::{CPU, largest_gap, store, twins};

/// The same numbers laid out in another order of strides.
fn strided(tensor: &Tensor) -> Result<Tensor> {
    let last = tensor.rank() - 1;
    tensor.transpose(0, last)?.contiguous()?.transpose(0, last)
}

/// The same numbers within a larger storage, behind others.
fn offset(tensor: &Tensor) -> Result<Tensor> {
    let padded = tensor.pad_with_zeros(0, 1, 2)?;
    padded.narrow(0, 1, tensor.dim(0)?)
}

fn follow(dims: &[usize], dtype: DType, lay: impl Fn(&Tensor) -> Result<Tensor>) -> Result<f64> {
    let (ours, theirs) = twins(dims, dtype)?;
    let config = ParamsAdamW { lr: 0.05, weight_decay: 0.1, ..ParamsAdamW::default() };
    let mut our_opt = AdamW::new(vec![ours.clone()], config.clone())?;
    let mut their_opt = candle_nn::AdamW::new(vec![theirs.clone()], config)?;
    for _ in 0..5 {
        let grad = Tensor::randn(0f32, 1., dims, &CPU)?.to_dtype(dtype)?;
        our_opt.step(&store([(&ours, lay(&grad)?)]))?;
        // candle's own optimizer fails on a tensor without elements.
        if grad.elem_count() > 0 {
            their_opt.step(&store([(&theirs, grad)]))?;
        }
    }
    assert_eq!(our_opt.updates(&ours), Some(5));
    largest_gap(&ours, &theirs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_shape_type_and_strides(
        dims in prop::collection::vec(0usize..9, 1..5),
        double in any::<bool>(),
    ) {
        let (dtype, near) = if double { (DType::F64, 1e-14) } else { (DType::F32, 1e-6) };
        prop_assert!(follow(&dims, dtype, |grad| Ok(grad.clone())).unwrap() <= near);
        prop_assert!(follow(&dims, dtype, strided).unwrap() <= near);
        if dims[0] > 0 {
            prop_assert!(follow(&dims, dtype, offset).unwrap() <= near);
        }
    }
}

#[test]
fn odd_sizes_across_blocks_and_threads() -> Result<()> {
    for len in [1, 7, 511, 513, 65_535, 65_537, 200_003] {
        for (dtype, near) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
            let gap = follow(&[len], dtype, |grad| Ok(grad.clone()))?;
            assert!(gap <= near, "{gap} apart at {len} of {dtype:?}");
        }
    }
    Ok(())
}

#[test]
fn many_small_tensors_in_one_step() -> Result<()> {
    // Together past the size from which they are shared out over threads.
    let pairs = (0..200).map(|i| twins(&[500 + i], DType::F32)).collect::<Result<Vec<_>>>()?;
    let (ours, theirs): (Vec<Var>, Vec<Var>) = pairs.into_iter().unzip();
    let mut our_opt = AdamW::new(ours.clone(), ParamsAdamW::default())?;
    let mut their_opt = candle_nn::AdamW::new(theirs.clone(), ParamsAdamW::default())?;
    for _ in 0..3 {
        let mut grads = store([]);
        for (a, b) in ours.iter().zip(&theirs) {
            let grad = Tensor::randn(0f32, 1., a.shape(), &CPU)?;
            grads.insert(a, grad.clone());
            grads.insert(b, grad);
        }
        our_opt.step(&grads)?;
        their_opt.step(&grads)?;
    }
    for (a, b) in ours.iter().zip(&theirs) {
        assert!(largest_gap(a, b)? <= 1e-6);
    }
    Ok(())
}

/// Trains a small network and returns its last loss and parameters, given the names' order.
fn train<O: Optimizer<Config = ParamsAdamW>>(start: &[(String, Tensor)]) -> Result<Vec<Tensor>> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &CPU);
    let (a, b) = (linear(6, 16, vb.pp("a"))?, linear(16, 1, vb.pp("b"))?);
    for (name, tensor) in start {
        map.data().lock().expect("one thread")[name].set(tensor)?;
    }
    let mut opt = O::new(map.all_vars(), ParamsAdamW { lr: 0.01, ..Default::default() })?;
    let x = Tensor::arange(0f32, 48., &CPU)?.reshape((8, 6))?.sin()?;
    let y = x.sum_keepdim(1)?.cos()?;
    for _ in 0..60 {
        let loss = mse(&b.forward(&a.forward(&x)?.tanh()?)?, &y)?;
        opt.backward_step(&loss)?;
    }
    let data = map.data().lock().expect("one thread");
    Ok(start.iter().map(|(name, _)| data[name].as_detached_tensor()).collect())
}

#[test]
fn a_network_trains_as_with_candles_optimizer() -> Result<()> {
    // The same start every time: from some, a bias comes back to where it was.
    let tensor = |name: &str, dims: &[usize]| -> Result<(String, Tensor)> {
        let elements: usize = dims.iter().product();
        let waves = (Tensor::arange(1f32, 1. + elements as f32, &CPU)?.sin()? * 0.5)?;
        Ok((name.to_string(), waves.reshape(dims)?))
    };
    let start = [
        tensor("a.weight", &[16, 6])?,
        tensor("a.bias", &[16])?,
        tensor("b.weight", &[1, 16])?,
        tensor("b.bias", &[1])?,
    ];
    let ours = train::<AdamW>(&start)?;
    let theirs = train::<candle_nn::AdamW>(&start)?;
    for ((ours, theirs), (name, start)) in ours.iter().zip(&theirs).zip(&start) {
        assert!(largest_gap(ours, theirs)? <= 1e-6, "{name} differs");
        assert!(largest_gap(ours, start)? > 1e-2, "{name} did not train");
    }
    Ok(())
}

#[test]
fn views_of_the_storage_see_the_step() -> Result<()> {
    let var = Var::zeros((2, 3), DType::F32, &CPU)?;
    let (detached, row) = (var.as_detached_tensor(), var.get(1)?);
    let mut opt = AdamW::new_lr(vec![var.clone()], 0.5)?;
    opt.step(&store([(&var, Tensor::ones((2, 3), DType::F32, &CPU)?)]))?;
    for view in [detached.flatten_all()?, row.detach()] {
        for number in view.to_vec1::<f32>()? {
            assert!((number + 0.5).abs() < 1e-6);
        }
    }
    Ok(())
}

#[test]
fn variables_without_a_gradient_stay_weight_decay_or_not() -> Result<()> {
    let (with, without) = twins(&[4], DType::F32)?;
    let before = without.to_vec1::<f32>()?;
    let mut opt = AdamW::new(vec![with.clone(), without.clone()], ParamsAdamW::default())?;
    opt.backward_step(&with.sqr()?.sum_all()?)?;
    assert_eq!(without.to_vec1::<f32>()?, before);
    assert_ne!(with.to_vec1::<f32>()?, before);
    Ok(())
}

#[test]
fn a_variable_given_twice_is_updated_once_and_integers_are_left_out() -> Result<()> {
    let var = Var::ones(2, DType::F32, &CPU)?;
    let counts = Var::ones(2, DType::U32, &CPU)?;
    let vars = vec![var.clone(), counts, var.clone()];
    let mut opt = Sgd::new(vars, ParamsSgd { lr: 0.25, ..Default::default() })?;
    opt.step(&store([(&var, Tensor::ones(2, DType::F32, &CPU)?)]))?;
    assert_eq!(var.to_vec1::<f32>()?, [0.75, 0.75]);
    assert_eq!(opt.vars().len(), 1);
    Ok(())
}

#[test]
fn a_gradient_that_does_not_fit_is_refused_before_anything_moves() -> Result<()> {
    let (a, b) = twins(&[2, 3], DType::F32)?;
    let before = (super::bits(&a)?, super::bits(&b)?);
    let mut opt = AdamW::new(vec![a.clone(), b.clone()], ParamsAdamW::default())?;
    let good = || Tensor::ones((2, 3), DType::F32, &CPU);
    for (wrong, said) in [
        (Tensor::ones((3, 2), DType::F32, &CPU)?, "shape [3, 2], the variable [2, 3]"),
        (Tensor::ones((2, 3), DType::F64, &CPU)?, "type F64, the variable F32"),
    ] {
        let error = opt.step(&store([(&a, good()?), (&b, wrong)])).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!((super::bits(&a)?, super::bits(&b)?), before);
    }
    assert_eq!(opt.state_bytes(), 0);
    Ok(())
}

#[test]
fn numbers_out_of_range_are_refused() -> Result<()> {
    let var = Var::ones(2, DType::F32, &CPU)?;
    let ok = ParamsAdamW::default;
    for (config, said) in [
        (ParamsAdamW { lr: f64::NAN, ..ok() }, "`lr` is NaN"),
        (ParamsAdamW { lr: -1.0, ..ok() }, "`lr` is -1"),
        (ParamsAdamW { beta1: 1.0, ..ok() }, "`beta1` is 1"),
        (ParamsAdamW { beta2: -0.1, ..ok() }, "`beta2` is -0.1"),
        (ParamsAdamW { eps: f64::INFINITY, ..ok() }, "`eps` is inf"),
        (ParamsAdamW { weight_decay: -1.0, ..ok() }, "`weight_decay` is -1"),
    ] {
        let error = AdamW::new(vec![var.clone()], config).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    for rate in [f64::NAN, f64::INFINITY, -0.1] {
        let mut opt = AdamW::new(vec![var.clone()], ok())?;
        let mut theirs = PerParam::<candle_nn::SGD>::new(vec![var.clone()], 0.1)?;
        opt.set_learning_rate(rate);
        theirs.set_learning_rate(rate);
        let loss = var.sum_all()?;
        for error in [opt.backward_step(&loss), theirs.backward_step(&loss)] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("`lr` is"), "{error}");
        }
        assert_eq!(var.to_vec1::<f32>()?, [1.0, 1.0]);
        theirs.set_learning_rate(0.0);
        theirs.backward_step(&loss)?;
    }
    Ok(())
}
