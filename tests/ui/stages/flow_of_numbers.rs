use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module};
use freeze_core::{Freezable, Staged};

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    body: Linear,
}

impl Staged for Net {
    type Flow = (Tensor, usize);
    type Context = ();

    fn run(&self, stage: NetStage, xs: Self::Flow, _: &()) -> Result<Self::Flow> {
        match stage {
            NetStage::Body => Ok((self.body.forward(&xs.0)?, xs.1 + 1)),
        }
    }
}

fn main() {}
