//! The other rules against their formulas written out, and half precision against single.

use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::{Adam, AdamW, MasterWeights, Momentum, ParamsAdam, ParamsSgd, Sgd};

use super::{CPU, store};

const GRADS: [f64; 4] = [0.5, -1.5, 0.25, 2.0];

fn run(mut opt: impl Optimizer, var: &Var) -> Result<f64> {
    for grad in GRADS {
        opt.step(&store([(var, Tensor::new(&[grad], &CPU)?)]))?;
    }
    var.get(0)?.to_scalar()
}

#[test]
fn sgd_is_pytorchs() -> Result<()> {
    for momentum in
        [Momentum::None, Momentum::Heavy(0.0), Momentum::Heavy(0.9), Momentum::Nesterov(0.9)]
    {
        for weight_decay in [0.0, 0.1] {
            let lr = 0.1;
            let (factor, nesterov) = match momentum {
                Momentum::None => (0.0, false),
                Momentum::Heavy(factor) => (factor, false),
                Momentum::Nesterov(factor) => (factor, true),
            };
            let (mut p, mut buffer) = (1.0, None);
            for grad in GRADS {
                let grad = grad + weight_decay * p;
                // PyTorch's buffer begins as the first gradient.
                let b = buffer.map_or(grad, |b: f64| factor * b + grad);
                buffer = Some(b);
                p -= lr * if nesterov { grad + factor * b } else { b };
            }
            let var = Var::new(&[1f64], &CPU)?;
            let opt = Sgd::new(vec![var.clone()], ParamsSgd { lr, momentum, weight_decay })?;
            let ours = run(opt, &var)?;
            assert!((ours - p).abs() < 1e-14, "{ours} instead of {p} with {momentum:?}");
        }
    }
    Ok(())
}

#[test]
fn adam_adds_its_penalty_to_the_gradient() -> Result<()> {
    for weight_decay in [0.0, 0.1] {
        let ParamsAdam { lr, beta1, beta2, eps, .. } = ParamsAdam::default();
        let (mut p, mut m, mut v) = (1.0, 0.0, 0.0);
        for (step, grad) in (1..).zip(GRADS) {
            let grad = grad + weight_decay * p;
            m = beta1 * m + (1.0 - beta1) * grad;
            v = beta2 * v + (1.0 - beta2) * grad * grad;
            let (m, v) = (m / (1.0 - beta1.powi(step)), v / (1.0 - beta2.powi(step)));
            p -= lr * m / (v.sqrt() + eps);
        }
        let var = Var::new(&[1f64], &CPU)?;
        let opt =
            Adam::new(vec![var.clone()], ParamsAdam { weight_decay, ..ParamsAdam::default() })?;
        let ours = run(opt, &var)?;
        assert!((ours - p).abs() < 1e-14, "{ours} instead of {p} at {weight_decay}");
    }
    Ok(())
}

/// The half-precision parameter follows a single-precision one bit for bit: the moments lose nothing
/// to rounding, and with master weights the parameter only what its type cannot show.
#[test]
fn half_precision_is_single_precision_rounded() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        for (len, masters, bytes) in [
            (1, MasterWeights::F32, 12),
            (1, MasterWeights::None, 8),
            (511, MasterWeights::F32, 12),
            (513, MasterWeights::None, 8),
            (70_001, MasterWeights::F32, 12),
            (70_001, MasterWeights::None, 8),
        ] {
            let start = Tensor::randn(0f32, 1., len, &CPU)?.to_dtype(dtype)?;
            let half = Var::from_tensor(&start)?;
            let single = Var::from_tensor(&start.to_dtype(DType::F32)?)?;
            let config = ParamsAdamW { lr: 0.05, ..ParamsAdamW::default() };
            let mut half_opt = AdamW::new(vec![half.clone()], config.clone())?;
            half_opt.set_master_weights(masters);
            let mut single_opt = AdamW::new(vec![single.clone()], config)?;
            let mut moved = false;
            for _ in 0..6 {
                let grad = Tensor::randn(0f32, 1., len, &CPU)?.to_dtype(dtype)?;
                half_opt.step(&store([(&half, grad.clone())]))?;
                single_opt.step(&store([(&single, grad.to_dtype(DType::F32)?)]))?;
                if masters == MasterWeights::None {
                    single.set(&single.to_dtype(dtype)?.to_dtype(DType::F32)?)?;
                }
                let ours = half.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                let rounded = single.to_dtype(dtype)?.to_dtype(DType::F32)?;
                assert_eq!(ours, rounded.to_vec1::<f32>()?, "{len} of {dtype:?}");
                // One element may come back to where it began.
                moved |= ours != start.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            }
            assert!(moved, "{len} of {dtype:?}");
            assert_eq!(half_opt.state_bytes(), bytes * len, "the moments stand in f32");
        }
    }
    Ok(())
}

#[test]
fn a_zero_gradient_leaves_half_precision_finite() -> Result<()> {
    // 1e-8 is zero in f16, so that candle's own optimizer divides zero by zero here.
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let var = Var::ones(3, dtype, &CPU)?;
        let config = ParamsAdamW { weight_decay: 0.0, ..ParamsAdamW::default() };
        let mut opt = AdamW::new(vec![var.clone()], config)?;
        opt.step(&store([(&var, Tensor::zeros(3, dtype, &CPU)?)]))?;
        assert_eq!(var.to_dtype(DType::F32)?.to_vec1::<f32>()?, [1.0; 3]);
    }
    Ok(())
}
