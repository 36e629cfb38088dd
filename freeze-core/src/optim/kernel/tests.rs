//! The fused loop against the same update made of candle operations, and the probes against both.

mod formulas;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::ParamsAdamW;
use proptest::prelude::*;

use super::by_tensors::sum_by_tensors;
use super::{GradMap, Rows, State, acc_dtype, all_finite, norm, probe, update, update_by_tensors};
use crate::optim::rule::{Update, sealed::Rule};
use crate::optim::{Momentum, ParamsAdam, ParamsSgd};

const DTYPES: [DType; 4] = [DType::F16, DType::BF16, DType::F32, DType::F64];

/// Both updates, three times over, from the same start; the largest difference, in parameter and
/// moments.
fn apart<R: Rule>(
    rule: &R,
    map: GradMap,
    (dtype, master): (DType, bool),
    dims: &[usize],
) -> Result<f64> {
    let cpu = &Device::Cpu;
    let start = Tensor::randn(0f32, 1., dims, cpu)?.to_dtype(dtype)?;
    let (ours, theirs) = (Var::from_tensor(&start.copy()?)?, Var::from_tensor(&start.copy()?)?);
    let acc = acc_dtype(dtype).unwrap_or(dtype);
    let rows = Rows { moments: rule.moments().len(), master: master && acc != dtype };
    let state = || {
        let tensor = Tensor::zeros((rows.count(), start.elem_count()), acc, cpu)?;
        Ok::<_, candle_core::Error>(State { tensor, rows })
    };
    let (our_state, their_state) = (state()?, state()?);
    let some = |state| (rows.count() > 0).then_some(state);
    for step in 1..=3 {
        let kernel = rule.kernel(Update { lr: 0.01, weight_decay: 0.1, step });
        let grad = Tensor::randn(0f32, 1., dims, cpu)?.to_dtype(dtype)?;
        update(&kernel, map, &ours, &grad, some(&our_state))?;
        update_by_tensors(&kernel, map, &theirs, &grad, some(&their_state))?;
    }
    let apart = |a: &Tensor, b: &Tensor| -> Result<f64> {
        let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
        (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()
    };
    let states = match rows.count() {
        0 => 0.0,
        _ => apart(&our_state.tensor, &their_state.tensor)?,
    };
    Ok(apart(&ours, &theirs)?.max(states))
}

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-13,
        DType::F32 => 2e-6,
        // One unit in the last place at 4, should the two round to different sides.
        DType::F16 => 4e-3,
        _ => 3.2e-2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_fused_loop_is_the_update_made_of_candle_operations(
        dtype in prop::sample::select(&DTYPES[..]),
        master in any::<bool>(),
        dims in prop::collection::vec(1usize..12, 0..4),
        map in prop::sample::select(&[GradMap::Identity, GradMap::Scale(0.3), GradMap::Clamp(0.5)][..]),
    ) {
        let sgd = |momentum| ParamsSgd { momentum, ..ParamsSgd::default() };
        let tolerance = tolerance(dtype);
        for apart in [
            apart(&ParamsAdamW::default(), map, (dtype, master), &dims).unwrap(),
            apart(&ParamsAdam::default(), map, (dtype, master), &dims).unwrap(),
            apart(&sgd(Momentum::None), map, (dtype, master), &dims).unwrap(),
            apart(&sgd(Momentum::Heavy(0.9)), map, (dtype, master), &dims).unwrap(),
            apart(&sgd(Momentum::Nesterov(0.9)), map, (dtype, master), &dims).unwrap(),
        ] {
            prop_assert!(apart <= tolerance, "{apart} apart in {dtype:?}");
        }
    }
}

#[test]
fn threads_change_nothing() -> Result<()> {
    // Cut into blocks and over threads at uneven places.
    for len in [super::PARALLEL_MIN - 1, super::PARALLEL_MIN, 3 * super::PARALLEL_MIN + 517] {
        for dtype in DTYPES {
            for master in [true, false] {
                let dtype_and_master = (dtype, master);
                let rule = ParamsAdamW::default();
                let apart = apart(&rule, GradMap::Identity, dtype_and_master, &[len])?;
                // Adam's quotient of two tiny moments is where roundings show.
                assert!(apart <= tolerance(dtype), "{apart} apart at {len} of {dtype:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_probes_see_one_odd_element_wherever_it_is() -> Result<()> {
    let len = 2 * super::PARALLEL_MIN + 3;
    for dtype in DTYPES {
        for at in [0, 4095, 4096, len / 2, len - 1] {
            for (odd, finite) in [
                (f32::NAN, false),
                (f32::INFINITY, false),
                (f32::NEG_INFINITY, false),
                (65504.0, true),
                (0.0, true),
                (1e-7, true),
            ] {
                let mut elements = vec![1f32; len];
                elements[at] = odd;
                let grad = Tensor::new(elements, &Device::Cpu)?.to_dtype(dtype)?;
                assert_eq!(all_finite(&[&grad])?, finite, "{odd} at {at} in {dtype:?}");
                assert_eq!(norm(&[&grad])?.is_of_finite(), finite);
                assert_eq!(probe::all_finite_by_tensors(&[&grad])?, finite);
            }
        }
    }
    Ok(())
}

#[test]
fn norms() -> Result<()> {
    let cpu = &Device::Cpu;
    for dtype in DTYPES {
        for (elements, expected) in [
            (vec![], 0.0),
            (vec![0.0; 5], 0.0),
            (vec![3.0, -4.0], 5.0),
            (vec![2.0; 1025], 4100f64.sqrt()),
            (vec![1.0; 200_003], 200_003f64.sqrt()),
        ] {
            let grad = Tensor::from_vec(elements.clone(), elements.len(), cpu)?.to_dtype(dtype)?;
            assert_eq!(norm(&[&grad])?.value(), expected);
            assert_eq!(sum_by_tensors(&[&grad], Tensor::sqr)?.sqrt(), expected);
        }
    }
    Ok(())
}

/// The sum in one `f32` would stop at 2^24, and hardly notice the small ones on the way there.
#[test]
fn a_sum_goes_on_where_single_precision_stops() -> Result<()> {
    let len = (1 << 24) + 4099;
    let ones = Tensor::ones(len, DType::BF16, &Device::Cpu)?;
    assert_eq!(norm(&[&ones])?.value(), (len as f64).sqrt());
    assert_eq!(sum_by_tensors(&[&ones], Tensor::sqr)?, len as f64);
    Ok(())
}

#[test]
fn norms_of_huge_and_tiny_gradients() -> Result<()> {
    for (a, b) in [(3e200, 4e200), (3e-200, 4e-200), (3e-310, 4e-310), (3.0, 4e200), (3e38, 4e38)] {
        let grads = [Tensor::new(&[a, 0.0], &Device::Cpu)?, Tensor::new(&[b], &Device::Cpu)?];
        let norm = norm(&[&grads[0], &grads[1]])?;
        let expected = f64::hypot(a, b);
        assert!((norm.value() / expected - 1.0).abs() < 1e-9, "{norm:?} of {a} and {b}");
    }
    // No number says how large it is, but a factor clips it.
    let grads = Tensor::full(f64::MAX, 4, &Device::Cpu)?;
    let norm = norm(&[&grads])?;
    assert!(norm.is_of_finite() && norm.value().is_infinite());
    let clipped = (grads * norm.factor_to(1.0))?.to_vec1::<f64>()?;
    assert!(clipped.iter().all(|x| (x - 0.5).abs() < 1e-9), "{clipped:?}");
    Ok(())
}

#[test]
fn a_gradient_that_shares_the_storage_of_its_variable_is_copied() -> Result<()> {
    let var = Var::new(&[1f32, 2.0], &Device::Cpu)?;
    let kernel = ParamsSgd::default().kernel(Update { lr: 0.5, weight_decay: 0.0, step: 1 });
    update(&kernel, GradMap::Identity, &var, &var.as_detached_tensor(), None)?;
    assert_eq!(var.to_vec1::<f32>()?, [0.5, 1.0]);
    Ok(())
}
