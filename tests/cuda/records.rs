//! What records on the card save. A measurement: `cargo test --release --features cuda --test cuda -- --ignored
//! --nocapture`; `benches/cuda` has the others.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, VarBuilder};
use freeze_core::nn::{Linear, linear};
use freeze_core::{ActivationCache, Freezable, Freezer, Staged};

use crate::card;

const REPEATS: usize = 30;

/// The median time of one call in milliseconds, after three to warm up, the device waited for. A call gets the time
/// of a step before it, of 20 ms, in which records may be read ahead.
fn median(device: &Device, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for repeat in 0..REPEATS + 3 {
        std::thread::sleep(Duration::from_millis(20));
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

/// A front whose outputs are those of an encoder of BERT's size, and a head of their first words.
#[derive(Freezable)]
#[freeze(stages)]
struct Encoder {
    layer: Linear,
    head: Linear,
}

impl Staged for Encoder {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: EncoderStage, xs: Tensor, (): &()) -> Result<Tensor> {
        match stage {
            EncoderStage::Layer => self.layer.forward(&xs),
            EncoderStage::Head => self.head.forward(&xs.narrow(1, 0, 1)?.contiguous()?),
        }
    }
}

/// The forward of 32 samples of 128 words of 768 numbers, whose records lie here or there: 12.6 MB.
#[test]
#[ignore = "a measurement"]
fn records_on_the_card_and_on_the_host() -> freeze_core::Result<()> {
    const SAMPLES: u64 = 512;
    const RECORD: u64 = 128 * 768 * 4;
    let Some(card) = card() else { return Ok(()) };
    let vb = VarBuilder::zeros(DType::F32, &card);
    let (layer, head) = (linear(768, 768, vb.pp("layer"))?, linear(768, 2, vb.pp("head"))?);
    let mut net = Freezer::new(Encoder { layer, head }.into_trainable()?)?;
    net.freeze_front(1, &mut [])?;
    let xs = Tensor::ones((32, 128, 768), DType::F32, &card)?;
    for (place, device) in
        [("the card", SAMPLES), ("the card and the host", SAMPLES / 2), ("the host", 0)]
    {
        for (checked, told) in [(false, false), (true, false), (false, true)] {
            let mut cache = ActivationCache::new().device_memory(device * RECORD);
            if !checked {
                cache = cache.unchecked_inputs();
            }
            // From one end to the other and back in other strides.
            let mut at = 0;
            let keys = |at: u64| -> Vec<u64> { (0..32).map(|i| (at + i * 17) % SAMPLES).collect() };
            let mut forward = || {
                let found = cache.forward(&net, &keys(at), xs.clone(), &()).map(drop);
                at += 32 * 17;
                if told {
                    cache.read_ahead(&keys(at));
                }
                found
            };
            for _ in 0..2 * SAMPLES / 32 {
                forward()?;
            }
            let time = median(&card, || forward().map_err(candle_core::Error::wrap))?;
            let stats = cache.stats();
            println!("records on {place}, checked: {checked}, told: {told}: {time:.3} ms; {stats}");
        }
    }
    Ok(())
}
