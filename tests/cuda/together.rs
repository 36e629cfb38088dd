//! Updates of many parameters as one launch: as each alone on the CPU.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::{Adam, AdamW, Fused, GradClip, ParamsAdam, ParamsSgd, UpdateRule};
use freeze_core::{Measured, Measures, PlanOptimizer, Result};

use crate::card;
use crate::support::{flat, random};

const DTYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

/// 300 parameters of all types, the last without a gradient; their names, and those of every size from nothing to
/// several blocks of threads.
fn vars(count: usize, dtypes: &[DType], device: &Device) -> Result<Vec<(String, Var)>> {
    let mut vars = Vec::new();
    for i in 0..count {
        let len = [0, 1, 37, 8192, 8193, 20_000][i % 6];
        let start = random(i as u64, len, dtypes[i % dtypes.len()]).to_device(device)?;
        vars.push((format!("w{i}"), Var::from_tensor(&start)?));
    }
    Ok(vars)
}

/// Every parameter after three steps, and what the last one measured.
fn after<R: UpdateRule>(
    rule: R,
    dtypes: &[DType],
    clip: GradClip,
    device: &Device,
) -> Result<(Vec<Vec<f64>>, Vec<Measured>)> {
    let vars = vars(300, dtypes, device)?;
    let mut opt = Fused::with_names(vars.iter().cloned(), rule)?;
    opt.set_clip(clip)?;
    let all = Measures { gradient: true, update: true, weight: true, relative_update: true };
    for step in 0..3 {
        assert!(opt.measure_within_step(if step == 2 { all } else { Measures::NONE }));
        let mut grads = GradStore::default();
        for (i, (_, var)) in vars.iter().enumerate().take(299) {
            let grad = random((1 + step) * 1000 + i as u64, var.elem_count(), var.dtype());
            grads.insert(var, grad.to_device(device)?);
        }
        opt.step(&grads)?;
    }
    let measured = opt.take_measured().into_iter().map(|(_, measured)| measured).collect();
    Ok((vars.iter().map(|(_, var)| flat(var)).collect(), measured))
}

fn sums(measured: &Measured) -> Vec<f64> {
    let norms = [measured.gradient, measured.update, measured.weight];
    let norms = norms.into_iter().flatten().flat_map(|norms| [norms.l1, norms.l2]);
    norms.chain(measured.relative_update).collect()
}

fn check<R: UpdateRule>(rule: R) -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for (dtypes, clip, tolerance) in [
        (&DTYPES[..], GradClip::None, 0.0),
        (&DTYPES, GradClip::Value(0.2), 0.0),
        (&DTYPES[..1], GradClip::Norm(1.0), 1e-6),
        // Norms of f64 go by the host.
        (&DTYPES[3..], GradClip::Norm(1.0), 1e-12),
        (&DTYPES[1..2], GradClip::Norm(1.0), 2e-3),
    ] {
        let (found, measured) = after(rule.clone(), dtypes, clip, &card)?;
        let (expected, reference) = after(rule.clone(), dtypes, clip, &Device::Cpu)?;
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= tolerance, "{i}: {found} {expected} {clip:?}");
            }
        }
        assert_eq!(measured.len(), 299);
        assert_eq!(measured.len(), reference.len());
        let tolerance = if clip == GradClip::None { 1e-5 } else { 1e-2 };
        for (found, expected) in measured.iter().zip(&reference) {
            let (found, expected) = (sums(found), sums(expected));
            assert_eq!((found.len(), expected.len()), (7, 7));
            for (found, expected) in found.iter().zip(&expected) {
                let off = (found - expected).abs() / expected.abs().max(1e-12);
                assert!(off <= tolerance, "measured {found}, expected {expected}, {clip:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn adamw() -> Result<()> {
    check(ParamsAdamW { lr: 0.01, weight_decay: 0.1, ..Default::default() })
}

#[test]
fn adam() -> Result<()> {
    check(ParamsAdam { lr: 0.01, weight_decay: 0.1, ..Default::default() })
}

#[test]
fn sgd() -> Result<()> {
    check(ParamsSgd { lr: 0.01, weight_decay: 0.1, ..Default::default() })
}

#[test]
fn a_refused_first_step_leaves_no_state() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let sizes = [(12, 10), (450, 10), (450, 430)];
    let clips = [GradClip::None, GradClip::Norm(1.0)];
    for ((count, bad), clip) in sizes.into_iter().flat_map(|size| clips.map(|clip| (size, clip))) {
        let vars = vars(count, &DTYPES[..1], &card)?;
        let before: Vec<_> = vars.iter().map(|(_, var)| flat(var)).collect();
        let mut opt = Adam::with_names(vars.iter().cloned(), ParamsAdam::default())?;
        opt.set_clip(clip)?;
        let mut grads = GradStore::default();
        for (i, (_, var)) in vars.iter().enumerate() {
            let grad =
                Tensor::full(if i == bad { f32::NAN } else { 1.0 }, var.dims(), &Device::Cpu)?;
            grads.insert(var, grad.to_device(&card)?);
        }
        let error = opt.step(&grads).unwrap_err().to_string();
        assert!(error.contains(&format!("of `w{bad}` are infinite or NaN")), "{error}");
        assert_eq!(opt.state_bytes(), 0);
        let rest: Vec<_> = vars.iter().map(|(_, var)| flat(var)).collect();
        assert_eq!(rest, before, "{bad} of {count}, {clip:?}");
        // And then it goes on as if nothing had been.
        grads.insert(&vars[bad].1, vars[bad].1.ones_like()?);
        opt.step(&grads)?;
        assert!(vars.iter().all(|(_, var)| opt.updates(var) == Some(1)));
    }
    Ok(())
}

#[test]
fn a_gradient_that_is_the_parameter_itself() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let after = |device: &Device| -> Result<Vec<f64>> {
        let var = Var::from_tensor(&random(3, 100, DType::F32).to_device(device)?)?;
        let mut opt = AdamW::new(vec![var.clone()], ParamsAdamW::default())?;
        let mut grads = GradStore::default();
        grads.insert(&var, var.as_detached_tensor());
        opt.step(&grads)?;
        Ok(flat(&var))
    };
    assert_eq!(after(&card)?, after(&Device::Cpu)?);
    Ok(())
}
