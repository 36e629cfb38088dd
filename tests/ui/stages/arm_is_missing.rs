use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module};
use freeze_core::{Freezable, Staged};

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    stem: Linear,
    blocks: Vec<Linear>,
    head: Linear,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, _: &()) -> Result<Tensor> {
        match stage {
            NetStage::Stem => self.stem.forward(&xs),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

fn main() {}
