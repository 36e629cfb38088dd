//! The fused loop of every rule against the same update written with candle operations.

mod formulas;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::ParamsAdamW;
use proptest::prelude::*;

use super::rule::{Update, sealed::Rule};
use super::{Momentum, ParamsAdam, ParamsSgd};
use crate::kernel::pieces::STREAM;
use crate::kernel::real_dtype;
use crate::kernel::update::{GradMap, Rows, State, Sums, Tally, update, update_by_tensors};
use crate::kernel::width::tests::same_at_each_level;

const DTYPES: [DType; 4] = [DType::F16, DType::BF16, DType::F32, DType::F64];

/// Runs both updates three times from the same start; returns the largest difference in parameter
/// and moments.
fn apart<R: Rule>(
    rule: &R,
    map: GradMap,
    (dtype, master): (DType, bool),
    dims: &[usize],
) -> Result<f64> {
    let cpu = &Device::Cpu;
    let start = Tensor::randn(0f32, 1., dims, cpu)?.to_dtype(dtype)?;
    let (ours, theirs) = (Var::from_tensor(&start.copy()?)?, Var::from_tensor(&start.copy()?)?);
    let acc = real_dtype(dtype).unwrap_or(dtype);
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
        update(&kernel, map, &ours, &grad, some(&our_state), None)?;
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

/// A tally that wants everything.
fn all_sums() -> Tally {
    let none = Some(Sums::default());
    Tally { gradient: none, update: none, weight: none, relative: Some(0.0) }
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
    // A size that is split unevenly into blocks and over threads.
    for len in [STREAM.from - 1, STREAM.from, 3 * STREAM.from + 517] {
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
fn a_gradient_that_shares_the_storage_of_its_variable_is_copied() -> Result<()> {
    let var = Var::new(&[1f32, 2.0], &Device::Cpu)?;
    let kernel = ParamsSgd::default().kernel(Update { lr: 0.5, weight_decay: 0.0, step: 1 });
    update(&kernel, GradMap::Identity, &var, &var.as_detached_tensor(), None, None)?;
    assert_eq!(var.to_vec1::<f32>()?, [0.5, 1.0]);
    Ok(())
}

#[test]
fn updates_give_the_same_bits_at_each_level() -> Result<()> {
    fn check<R: Rule>(rule: &R, map: GradMap, (dtype, master): (DType, bool)) -> Result<()> {
        for len in [1, 31, 515, STREAM.from + 3] {
            let start = Tensor::randn(0f64, 1., len, &Device::Cpu)?.to_dtype(dtype)?;
            let grad = Tensor::randn(0f64, 1., len, &Device::Cpu)?.to_dtype(dtype)?;
            let acc = real_dtype(dtype).unwrap_or(dtype);
            let rows = Rows { moments: rule.moments().len(), master: master && acc != dtype };
            let run = || -> Result<Vec<f64>> {
                let var = Var::from_tensor(&start.copy()?)?;
                let tensor = Tensor::zeros((rows.count(), len), acc, &Device::Cpu)?;
                let state = (rows.count() > 0).then_some(State { tensor, rows });
                let mut tally = all_sums();
                for step in 1..=4 {
                    let kernel = rule.kernel(Update { lr: 0.01, weight_decay: 0.1, step });
                    let tally = (step % 2 == 0).then_some(&mut tally);
                    update(&kernel, map, &var, &grad, state.as_ref(), tally)?;
                }
                let mut numbers = var.to_dtype(DType::F64)?.to_vec1()?;
                numbers.extend(tally.relative);
                for sums in [tally.gradient, tally.update, tally.weight].into_iter().flatten() {
                    numbers.extend([sums.l1, sums.squares]);
                }
                if let Some(State { tensor, .. }) = state {
                    numbers.extend(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?);
                }
                Ok(numbers)
            };
            same_at_each_level(&format!("{map:?} of {len} {dtype:?}"), || run().unwrap());
        }
        Ok(())
    }
    let sgd = |momentum| ParamsSgd { momentum, ..ParamsSgd::default() };
    for dtype in DTYPES.into_iter().flat_map(|dtype| [(dtype, false), (dtype, true)]) {
        for map in [GradMap::Identity, GradMap::Scale(0.3), GradMap::Clamp(0.5)] {
            check(&ParamsAdamW::default(), map, dtype)?;
            check(&ParamsAdam::default(), map, dtype)?;
            for momentum in [Momentum::None, Momentum::Heavy(0.7), Momentum::Nesterov(0.7)] {
                check(&sgd(momentum), map, dtype)?;
            }
        }
    }
    Ok(())
}
