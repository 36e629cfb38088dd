//! Running statistics on the card.

use candle_core::{DType, Device, ModuleT, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::nn::{BatchNorm, batch_norm};

use crate::battery::close;
use crate::card;
use crate::support::random;

/// Mean, variance and what evaluation gives after three batches.
fn after_three_batches(dtype: DType, device: &Device) -> Result<[Tensor; 3]> {
    let norm: BatchNorm =
        batch_norm(5, 1e-5, VarBuilder::from_varmap(&VarMap::new(), dtype, device))?;
    for seed in 1..4 {
        let x = random(seed, (4, 5, 3, 2), dtype).to_device(device)?;
        norm.forward_t(&x, true)?;
    }
    let y = norm.forward_t(&random(9, (2, 5, 3, 2), dtype).to_device(device)?, false)?;
    Ok([norm.running_mean().clone(), norm.running_var().clone(), y])
}

#[test]
fn they_move_as_on_the_cpu() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let rows = [(DType::F64, 1e-12), (DType::F32, 1e-6), (DType::F16, 4e-3), (DType::BF16, 3e-2)];
    for (dtype, tolerance) in rows {
        let found = after_three_batches(dtype, &card)?;
        let expected = after_three_batches(dtype, &Device::Cpu)?;
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found.device().is_cuda());
            if let Err(off) = close(found, expected, tolerance) {
                panic!("{dtype:?}, {i}: {off}");
            }
        }
    }
    Ok(())
}
