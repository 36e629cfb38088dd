//! The bytes that a batch's graph holds, as sinks are told.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Module, Result as Candle, Tensor};
use candle_nn::{ParamsAdamW, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::{self, Linear, cross_entropy, ops};
use freeze_core::optim::AdamW;
use freeze_core::{Elapsed, Freezable, MetricSink, PlanNow, Result, Training};

/// Three leaves, whose results are `[2, 4]` in f32: 32 bytes each.
#[derive(Freezable)]
struct Net {
    body: Vec<Linear>,
    /// Whether there is a view of the first result, and a part of one.
    views: bool,
}

impl Module for Net {
    fn forward(&self, xs: &Tensor) -> Candle<Tensor> {
        let [first, second, last] = [0, 1, 2].map(|layer| &self.body[layer]);
        let mut xs = first.forward(xs)?;
        if self.views {
            let (left, right) = (xs.narrow(1, 0, 2)?, xs.narrow(1, 2, 2)?);
            xs = Tensor::cat(&[left, right], 1)?; // one more result of 32 bytes
        }
        last.forward(&ops::relu(&second.forward(&xs)?)?)
    }
}

/// Frozen leaves and bytes.
type At = (usize, Option<usize>);

/// What the sink is told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<At>>>);

impl MetricSink for Told {
    fn record(&mut self, _: &str, _: f64, _: Elapsed) -> Result<()> {
        Ok(())
    }

    fn plan(&mut self, now: &PlanNow<'_>, _: Elapsed) -> Result<()> {
        let told = (now.plan.frozen_leaves(), now.activation_bytes);
        self.0.lock().expect("no panic").push(told);
        Ok(())
    }
}

#[test]
fn what_is_frozen_holds_nothing_and_a_view_only_what_it_shows() -> Result<()> {
    const RESULT: usize = 4 * 2 * 4;
    for views in [false, true] {
        let vb: VarBuilder<'_> = Seeded::builder(1, DType::F32, &Device::Cpu);
        let layer = |i: usize| nn::linear(4, 4, vb.pp(i));
        let net = Net { body: (0..3).map(layer).collect::<Candle<_>>()?, views };
        let told = Told::default();
        let mut run = Training::new(net)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .metrics(told.clone())
            .length(2, 3)?;
        let (xs, classes) = (Tensor::ones((2, 4), DType::F32, &Device::Cpu)?, [1u32, 2]);
        let classes = Tensor::new(&classes, &Device::Cpu)?;
        while let Some(epoch) = run.next_epoch()? {
            for batch in epoch.remaining(0..3) {
                run.freeze_front(batch)?;
                run.step(&cross_entropy(&run.model().forward(&xs)?, &classes, None)?)?;
            }
            run.epoch_end([])?;
        }
        // The results of three layers and of one activation, and the loss.
        let loss = 4;
        let extra = if views { RESULT } else { 0 };
        let bytes = [4 * RESULT + extra + loss, 3 * RESULT + loss, RESULT + loss];
        let epoch = (0..).zip(bytes).flat_map(|(frozen, bytes)| {
            [(frozen, None), (frozen, Some(bytes))] // before the batch and after it
        });
        let epoch: Vec<_> = epoch.collect();
        let told = told.0.lock().expect("no panic");
        assert_eq!(*told, [&*epoch, &*epoch].concat(), "{views}");
    }
    Ok(())
}
