//! The fused updates on the card against those of the CPU.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::Result;
use freeze_core::optim::{
    Fused, GradClip, MasterWeights, Momentum, ParamsAdam, ParamsSgd, UpdateRule,
};

use crate::battery::close;
use crate::card;
use crate::support::random;

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];
/// A scalar, nothing, odd sizes, and more than one block of threads.
const SHAPES: [&[usize]; 6] = [&[], &[0, 3], &[1], &[5], &[33, 31], &[70_001]];

/// The parameters and every row of state after five updates.
fn updated<R: UpdateRule>(
    rule: R,
    dtype: DType,
    masters: MasterWeights,
    clip: GradClip,
    device: &Device,
) -> Result<Vec<(String, Tensor)>> {
    let mut vars = Vec::new();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let start = random(i as u64, shape, dtype).to_device(device)?;
        vars.push((format!("w{i}"), Var::from_tensor(&start)?));
    }
    let mut opt =
        Fused::with_names(vars.iter().map(|(name, var)| (name.clone(), var.clone())), rule)?;
    opt.set_master_weights(masters);
    opt.set_clip(clip)?;
    for step in 0..5 {
        let mut grads = GradStore::default();
        for (i, (_, var)) in vars.iter().enumerate() {
            let dims: Vec<usize> = var.dims().iter().rev().copied().collect();
            let grad = random(100 * (step + 1) + i as u64, dims, dtype).to_device(device)?;
            // Every gradient of a matrix is a view that is not contiguous.
            let grad = if grad.rank() == 2 { grad.t()? } else { grad };
            grads.insert(var, grad);
        }
        opt.step(&grads)?;
    }
    let state = opt.state_tensors()?;
    Ok(vars.into_iter().map(|(name, var)| (name, var.as_detached_tensor())).chain(state).collect())
}

/// Bit for bit, since no multiply-add is fused on the card; but where the norm of all gradients
/// counts, whose sum goes another way.
fn check<R: UpdateRule>(rule: R, name: &str) -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let mut faults = Vec::new();
    for dtype in DTYPES {
        for masters in [MasterWeights::F32, MasterWeights::None] {
            for clip in [GradClip::None, GradClip::Value(0.25), GradClip::Norm(3.0)] {
                let context = format!("{name} {dtype:?} {masters:?} {clip:?}");
                let found = match updated(rule.clone(), dtype, masters, clip, &card) {
                    Ok(found) => found,
                    Err(error) => {
                        faults.push(format!("{context}: {error}"));
                        continue;
                    }
                };
                let expected = updated(rule.clone(), dtype, masters, clip, &Device::Cpu)?;
                assert_eq!(found.len(), expected.len());
                let tolerance = match (clip, dtype) {
                    (GradClip::Norm(_), DType::F64) => 1e-12,
                    (GradClip::Norm(_), DType::F32) => 1e-6,
                    (GradClip::Norm(_), DType::F16) => 2e-3,
                    (GradClip::Norm(_), _) => 1e-2,
                    _ => 0.0,
                };
                for ((tensor, found), (other, expected)) in found.iter().zip(&expected) {
                    assert_eq!(tensor, other);
                    assert_eq!(found.dtype(), expected.dtype());
                    if let Err(off) = close(found, expected, tolerance) {
                        faults.push(format!("{context}: `{tensor}`: {off}"));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

#[test]
fn adamw() -> Result<()> {
    check(ParamsAdamW { lr: 0.01, weight_decay: 0.1, ..Default::default() }, "AdamW")
}

#[test]
fn adam() -> Result<()> {
    check(ParamsAdam { lr: 0.01, weight_decay: 0.1, ..Default::default() }, "Adam")
}

#[test]
fn sgd() -> Result<()> {
    for momentum in [Momentum::None, Momentum::Heavy(0.9), Momentum::Nesterov(0.9)] {
        let rule = ParamsSgd { lr: 0.01, weight_decay: 0.1, momentum };
        check(rule, &format!("Sgd {momentum:?}"))?;
    }
    Ok(())
}
