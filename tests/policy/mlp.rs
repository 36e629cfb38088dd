//! A small model for real runs, and what to look at in them.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::VarBuilder;
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::policy::Output;
use freeze_core::{Freezable, Training};

pub const LEAVES: usize = 4;
pub const WIDTH: usize = 5;

#[derive(Freezable)]
pub struct Mlp {
    pub layers: Vec<Linear>,
}

impl Mlp {
    pub fn new(seed: u64) -> Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(seed, DType::F32, &Device::Cpu);
        let layer = |n: usize| linear(WIDTH, WIDTH, vb.pp(n));
        Ok(Self { layers: (0..LEAVES).map(layer).collect::<Result<_>>()? })
    }

    /// The outputs of all layers on the one batch that there is.
    pub fn outputs(&self) -> Result<Vec<Tensor>> {
        let xs: Vec<f32> = (0..3 * WIDTH).map(|i| (i as f32).sin()).collect();
        let mut outputs = vec![Tensor::from_vec(xs, (3, WIDTH), &Device::Cpu)?];
        for (at, layer) in self.layers.iter().enumerate() {
            outputs.push(layer.forward(&outputs[at])?.tanh()?);
        }
        Ok(outputs.split_off(1))
    }

    pub fn loss(&self) -> Result<Tensor> {
        let outputs = self.outputs()?;
        (&outputs[LEAVES - 1] - 0.5)?.sqr()?.mean_all()
    }

    /// The outputs as a probe shows them.
    pub fn stages(&self) -> Result<Vec<Output>> {
        let outputs = self.outputs()?.into_iter().enumerate();
        Ok(outputs.map(|(at, tensor)| Output { leaves: at + 1, tensor }).collect())
    }

    /// The weight of each leaf, as bits.
    pub fn weights(&self) -> Vec<Vec<u32>> {
        let bits = |layer: &Linear| -> Vec<u32> {
            let weight = layer.weight().flatten_all().and_then(|flat| flat.to_vec1::<f32>());
            weight.expect("numbers").into_iter().map(f32::to_bits).collect()
        };
        self.layers.iter().map(bits).collect()
    }
}

/// Which leaves have a gradient.
pub fn with_gradient(run: &Training<Mlp>) -> Vec<bool> {
    let grads = run.model().loss().and_then(|loss| loss.backward()).expect("gradients");
    let whole = &run.freezer().whole().layers;
    whole.iter().map(|layer| grads.get(layer.weight()).is_some()).collect()
}
