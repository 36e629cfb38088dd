//! Training steps with activations kept and computed again: `cargo bench --bench recompute`.
//!
//! Twelve blocks of two layers. Contestants take turns; ratios to the step that keeps
//! everything are taken within a round, and their medians printed.

use std::time::Instant;

use candle_core::{DType, Device, Module, Result, Tensor};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear, ops::gelu};
use freeze_core::{Freezable, Freezer, Recompute, Staged, backward};

const STAGES: usize = 12;
const WIDTH: usize = 256;
const BATCH: usize = 1024;
const ROUNDS: usize = 21;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    blocks: Vec<[Linear; 2]>,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
        let NetStage::Blocks(i, layer) = stage;
        gelu(&self.blocks[i][layer].forward(&xs)?)
    }
}

fn main() -> freeze_core::Result<()> {
    let vb = Seeded::builder(1, DType::F32, &Device::Cpu);
    let layer = |i: usize, name: &str| linear(WIDTH, WIDTH, vb.pp(format!("{i}.{name}")));
    let blocks = (0..STAGES).map(|i| Ok([layer(i, "a")?, layer(i, "b")?]));
    let net = Freezer::new(Net { blocks: blocks.collect::<Result<_>>()? }.into_trainable()?)?;
    let xs = Tensor::randn(0f32, 1., (BATCH, WIDTH), &Device::Cpu)?;
    let step = |again: Option<&Recompute>| -> freeze_core::Result<f64> {
        let start = Instant::now();
        let ys = match again {
            Some(again) => again.forward(&net, xs.clone(), ())?,
            None => net.forward(xs.clone(), &())?,
        };
        backward(&ys.sqr()?.mean_all()?)?;
        Ok(start.elapsed().as_secs_f64())
    };
    // Two stages are one block of the twelve.
    let contestants = [2, 4, 6, 8].map(|n| (n / 2, Recompute::every(n)));
    let mut ratios = vec![Vec::new(); contestants.len()];
    for round in 0..=ROUNDS {
        let plain = step(None)?;
        for ((_, again), ratios) in contestants.iter().zip(&mut ratios) {
            let time = step(again.as_ref().ok())?;
            if round > 0 {
                ratios.push(time / plain);
            }
        }
    }
    for ((n, _), ratios) in contestants.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        println!(
            "every {n} of {STAGES} blocks: {:.2} x the step that keeps all",
            ratios[ROUNDS / 2]
        );
    }
    Ok(())
}
