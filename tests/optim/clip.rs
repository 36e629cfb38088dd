//! Clipping, within the step and by itself.

use candle_core::{DType, Tensor, Var};
use candle_nn::Optimizer;
use freeze_core::Result;
use freeze_core::optim::{GradClip, ParamsSgd, Sgd, clip_grad_norm, clip_grad_value, grad_norm};

use super::{CPU, store};

fn vars() -> Result<(Var, Var, Var)> {
    let zeros = || Var::zeros(2, DType::F64, &CPU);
    Ok((zeros()?, zeros()?, zeros()?))
}

fn row(a: f64, b: f64) -> Result<Tensor> {
    Ok(Tensor::new(&[a, b], &CPU)?)
}

/// The gradients of two trained variables, 5 in norm together, and of one that does not count.
const CASES: [(GradClip, [f64; 4]); 5] = [
    (GradClip::None, [3.0, 0.0, 0.0, -4.0]),
    (GradClip::Norm(5.0), [3.0, 0.0, 0.0, -4.0]),
    (GradClip::Norm(1.0), [0.6, 0.0, 0.0, -0.8]),
    (GradClip::Value(3.5), [3.0, 0.0, 0.0, -3.5]),
    (GradClip::Value(0.5), [0.5, 0.0, 0.0, -0.5]),
];

fn near(found: &[f64], expected: &[f64]) -> bool {
    found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
}

#[test]
fn within_the_step() -> Result<()> {
    for (clip, expected) in CASES {
        let (a, b, other) = vars()?;
        let config = ParamsSgd { lr: 1.0, ..ParamsSgd::default() };
        let mut opt = Sgd::new(vec![a.clone(), b.clone()], config)?;
        opt.set_clip(clip)?;
        let grads = store([(&a, row(3.0, 0.0)?), (&b, row(0.0, -4.0)?), (&other, row(1e9, 0.0)?)]);
        opt.step(&grads)?;
        let moved = Tensor::cat(&[a.as_tensor(), &b], 0)?.neg()?.to_vec1::<f64>()?;
        assert!(near(&moved, &expected), "{moved:?} under {clip:?}");
        let norm = matches!(clip, GradClip::Norm(_)).then_some(5.0);
        assert_eq!(opt.grad_norm(), norm);
        let untouched = grads.get(&a).expect("still there").to_vec1::<f64>()?;
        assert_eq!(untouched, [3.0, 0.0]);
    }
    Ok(())
}

#[test]
fn by_itself() -> Result<()> {
    for (clip, expected) in CASES {
        let (a, b, other) = vars()?;
        let trained = [a.clone(), b.clone()];
        let mut grads =
            store([(&a, row(3.0, 0.0)?), (&b, row(0.0, -4.0)?), (&other, row(1e9, 0.0)?)]);
        assert_eq!(grad_norm(&grads, &trained)?, 5.0);
        match clip {
            GradClip::None => {}
            GradClip::Norm(max) => assert_eq!(clip_grad_norm(&mut grads, &trained, max)?, 5.0),
            GradClip::Value(max) => clip_grad_value(&mut grads, &trained, max)?,
        }
        let grad = |var: &Var| grads.get(var).unwrap().to_vec1();
        let found: Vec<f64> = [grad(&a)?, grad(&b)?].concat();
        assert!(near(&found, &expected), "{found:?} under {clip:?}");
        assert_eq!(grad(&other)?, [1e9, 0.0]);
        assert!(trained.iter().all(|var| !grads.get(var).unwrap().track_op()));
    }
    Ok(())
}

#[test]
fn nothing_to_clip_and_nothing_sensible_to_clip_to() -> Result<()> {
    let (a, b, _) = vars()?;
    let trained = [a.clone(), b];
    assert_eq!(clip_grad_norm(&mut store([]), &trained, 1.0)?, 0.0);
    let mut opt = Sgd::new(trained.to_vec(), ParamsSgd::default())?;
    for bound in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(clip_grad_norm(&mut store([]), &trained, bound).is_err());
        assert!(clip_grad_value(&mut store([]), &trained, bound).is_err());
        assert!(opt.set_clip(GradClip::Norm(bound)).is_err());
        assert!(opt.set_clip(GradClip::Value(bound)).is_err());
    }
    let mut grads = store([(&a, row(f64::NAN, 1.0)?)]);
    assert!(clip_grad_norm(&mut grads, &trained, 1.0).is_err());
    assert_eq!(grads.get(&a).unwrap().get(1)?.to_scalar::<f64>()?, 1.0);
    Ok(())
}

#[test]
fn a_variable_given_twice_counts_once() -> Result<()> {
    let (a, b, _) = vars()?;
    let mut grads = store([(&a, row(3.0, 0.0)?), (&b, row(0.0, 4.0)?)]);
    let twice = [a.clone(), b.clone(), a.clone()];
    assert_eq!(grad_norm(&grads, &twice)?, 5.0);
    assert_eq!(clip_grad_norm(&mut grads, &twice, 1.0)?, 5.0);
    assert!(near(&grads.get(&a).unwrap().to_vec1::<f64>()?, &[0.6, 0.0]));
    Ok(())
}

/// The squares of these overflow or vanish in double precision.
#[test]
fn huge_and_tiny_gradients_are_clipped_like_any() -> Result<()> {
    for size in [1e200, 1e-200, 1e-310, f64::MAX / 5.0] {
        let grads = |a: &Var, b: &Var| {
            Ok::<_, freeze_core::Error>(store([
                (a, row(3.0 * size, 0.0)?),
                (b, row(0.0, 4.0 * size)?),
            ]))
        };
        let (a, b, _) = vars()?;
        let mut alone = grads(&a, &b)?;
        let bound = size.min(1.0) / 2.0;
        let norm = clip_grad_norm(&mut alone, &[a.clone(), b.clone()], bound)?;
        assert!((norm / size / 5.0 - 1.0).abs() < 1e-9, "{norm} at {size}");
        let clipped = alone.get(&b).unwrap().get(1)?.to_scalar::<f64>()?;
        assert!((clipped / bound - 0.8).abs() < 1e-9, "{clipped} at {size}");

        let config = ParamsSgd { lr: 1.0, ..ParamsSgd::default() };
        let mut opt = Sgd::new(vec![a.clone(), b.clone()], config)?;
        opt.set_clip(GradClip::Norm(bound))?;
        opt.step(&grads(&a, &b)?)?;
        let moved = -b.get(1)?.to_scalar::<f64>()?;
        assert!((moved / bound - 0.8).abs() < 1e-9, "{moved} at {size}");
        assert_eq!(opt.grad_norm(), Some(norm));
    }
    Ok(())
}

/// With a scaled loss such norms are ordinary; the factor itself is none that a half could hold.
#[test]
fn gradients_in_halves_are_clipped_by_factors_that_halves_cannot_hold() -> Result<()> {
    for (dtype, size) in [(DType::F16, 4e4), (DType::BF16, 1e30), (DType::F16, 1.0)] {
        let var = Var::zeros(10_000, dtype, &CPU)?;
        let grad = Tensor::full(size as f32, 10_000, &CPU)?.to_dtype(dtype)?;
        let mut grads = store([(&var, grad)]);
        let norm = clip_grad_norm(&mut grads, std::slice::from_ref(&var), 1e-3)?;
        assert!((norm / size / 100.0 - 1.0).abs() < 1e-2, "{norm} of {dtype:?}");
        let clipped = grads.get(&var).unwrap().get(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        assert!((clipped / 1e-5 - 1.0).abs() < 1e-2, "{clipped} of {dtype:?}");
    }
    Ok(())
}
