use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module};
use freeze_core::{Freezable, Staged};

#[derive(Freezable)]
#[freeze(stages = 1, unit)]
struct Net {
    conv_1: Linear,
    conv1: Linear,
    branches: Option<BTreeMap<String, Linear>>,
    #[freeze(skip, no_stage)]
    width: usize,
    #[freeze(stage)]
    head: Linear,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, _: &()) -> Result<Tensor> {
        match stage {
            NetStage::Conv1 => self.conv1.forward(&xs),
            NetStage::Branches => Ok(xs),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

fn main() {}
