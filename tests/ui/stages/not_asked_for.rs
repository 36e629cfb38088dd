use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module};
use freeze_core::{Freezable, Staged};

#[derive(Freezable)]
struct Net {
    body: Linear,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, _: Self::Stage, xs: Tensor, _: &()) -> Result<Tensor> {
        self.body.forward(&xs)
    }
}

fn main() {}
