//! How much of the card's bandwidth an update uses. A measurement: `cargo test --release --features
//! cuda --test cuda -- --ignored --nocapture`.

use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::AdamW;

use crate::card;

const REPEATS: usize = 30;

/// The median time of one call in milliseconds, after three to warm up, the device waited for.
fn median(device: &Device, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for repeat in 0..REPEATS + 3 {
        device.synchronize()?;
        let start = Instant::now();
        call()?;
        device.synchronize()?;
        if repeat >= 3 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[REPEATS / 2])
}

/// The time of a copy within the card, into memory that is there.
#[cfg(feature = "cuda")]
fn copy(card: &Device, numbers: usize) -> Result<f64> {
    let cuda = card.as_cuda_device()?;
    let (source, mut target) =
        (cuda.alloc_zeros::<f32>(numbers)?, cuda.alloc_zeros::<f32>(numbers)?);
    median(card, || cuda.memcpy_dtod(&source, &mut target))
}

#[cfg(not(feature = "cuda"))]
fn copy(_: &Device, _: usize) -> Result<f64> {
    candle_core::bail!("built without the feature `cuda`")
}

#[test]
#[ignore = "a measurement"]
fn adamw_against_a_copy() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    const PARAMETERS: usize = 100_000_000;
    // An update reads four numbers of a parameter and writes three: as a copy of three and a half.
    let copy = copy(&card, PARAMETERS / 2 * 7)?;
    println!("copy of {} bytes: {copy:.3} ms", PARAMETERS * 14);
    for count in [1, 800] {
        let mut grads = GradStore::default();
        let mut vars = Vec::new();
        for _ in 0..count {
            let var = Var::zeros(PARAMETERS / count, DType::F32, &card)?;
            grads.insert(&var, var.ones_like()?);
            vars.push(var);
        }
        let mut opt = AdamW::new(vars.clone(), ParamsAdamW::default())?;
        let step = median(&card, || opt.step(&grads))?;
        println!("AdamW, {count} tensors: {step:.3} ms, {:.2} of a copy", copy / step);
        drop(opt);
        let mut stock = candle_nn::AdamW::new(vars, ParamsAdamW::default())?;
        let step = median(&card, || stock.step(&grads))?;
        println!("candle's AdamW, {count} tensors: {step:.3} ms, {:.2} of a copy", copy / step);
    }
    Ok(())
}
