//! How much of the card's bandwidth an update uses, and what many small tensors cost.

use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::{AdamW, GradClip};

use super::contestant::median;

const PARAMETERS: usize = 100_000_000;
const REPEATS: usize = 30;

pub(crate) fn run(card: &Device) -> Result<()> {
    // An update reads four numbers of a parameter and writes three: as a copy of three and a half.
    let copy = copy(card, PARAMETERS / 2 * 7)?;
    println!("\ncopy of {} bytes: {copy:.3} ms", PARAMETERS * 14);
    println!("{:>10} {:>14} {:>14} {:>14}", "tensors", "AdamW", "clipped", "candle's");
    for count in [1, 800] {
        let mut grads = GradStore::default();
        let mut vars = Vec::new();
        for _ in 0..count {
            let var = Var::randn(0f32, 1., PARAMETERS / count, card)?;
            grads.insert(&var, var.randn_like(0., 1e-3)?);
            vars.push(var);
        }
        let mut times = Vec::new();
        for clip in [GradClip::None, GradClip::Norm(1.0)] {
            let mut opt = AdamW::new(vars.clone(), ParamsAdamW::default())?;
            opt.set_clip(clip)?;
            times.push(time(card, || opt.step(&grads))?);
        }
        let mut stock = candle_nn::AdamW::new(vars, ParamsAdamW::default())?;
        times.push(time(card, || stock.step(&grads))?);
        let cell = |ms: &f64| format!("{ms:.3} ms {:.2}", copy / ms);
        println!(
            "{count:>10} {:>14} {:>14} {:>14}",
            cell(&times[0]),
            cell(&times[1]),
            cell(&times[2])
        );
    }
    println!("(behind each time: the share of the copy's bandwidth)");
    Ok(())
}

/// The median time of one call in milliseconds, after three to warm up, the device waited for.
fn time(card: &Device, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for repeat in 0..REPEATS + 3 {
        card.synchronize()?;
        let start = Instant::now();
        call()?;
        card.synchronize()?;
        if repeat >= 3 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(median(times.into_iter()))
}

/// The time of a copy within the card, into memory that is there.
fn copy(card: &Device, numbers: usize) -> Result<f64> {
    let cuda = card.as_cuda_device()?;
    let (source, mut target) =
        (cuda.alloc_zeros::<f32>(numbers)?, cuda.alloc_zeros::<f32>(numbers)?);
    time(card, || cuda.memcpy_dtod(&source, &mut target))
}
