//! What it takes to look at inputs: a cached forward with and without.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, VarBuilder};
use freeze_core::nn::{Linear, linear};
use freeze_core::{ActivationCache, Freezable, Freezer, Staged};

use super::clock::median;

/// A front that reads little of a large input.
#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    front: Linear,
    head: Linear,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
        match stage {
            NetStage::Front => self.front.forward(&xs.narrow(1, 0, 8)?.contiguous()?),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

/// Batches of so many samples of so many numbers, each looked at so often.
pub(super) fn inputs(shapes: &[(usize, usize)], repeats: usize) -> Result<()> {
    println!("\nlooking at inputs, f32\n  samples x numbers      MB   checked  unchecked   GB/s");
    let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
    let net = Net { front: linear(8, 8, vb.pp("front"))?, head: linear(8, 2, vb.pp("head"))? };
    let mut net = Freezer::new(net.into_trainable()?)?;
    net.freeze_front(1, &mut [])?;
    for &(samples, width) in shapes {
        let xs = Tensor::rand(0f32, 1., (samples, width), &Device::Cpu)?;
        let keys: Vec<u64> = (0..samples as u64).collect();
        let mut caches = [ActivationCache::new(), ActivationCache::new().unchecked_inputs()];
        let mut times = [Vec::new(), Vec::new()];
        // The first two try the front and store.
        for repeat in 0..repeats + 2 {
            for (cache, times) in caches.iter_mut().zip(&mut times) {
                let start = Instant::now();
                cache.forward(&net, &keys, xs.clone(), &())?;
                if repeat >= 2 {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
        }
        let [checked, unchecked] = times.map(median);
        let bytes = (4 * samples * width) as f64;
        let rate = bytes / 1e9 / (checked - unchecked);
        let (checked, unchecked) = (checked * 1e3, unchecked * 1e3);
        let shape = format!("{samples} x {width}");
        let megabytes = bytes / 1e6;
        println!("  {shape:>17} {megabytes:>7.1} {checked:>9.2} {unchecked:>10.2} {rate:>6.1}");
    }
    Ok(())
}
