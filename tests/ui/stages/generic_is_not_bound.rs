use candle_core::{Result, Tensor};
use candle_nn::Module;
use freeze_core::{Freezable, Staged};

#[derive(Freezable)]
#[freeze(stages)]
struct Net<L> {
    blocks: Vec<L>,
}

impl<L: Module> Staged for Net<L> {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, _: &()) -> Result<Tensor> {
        match stage {
            NetStage::Blocks(i) => self.blocks[i].forward(&xs),
        }
    }
}

fn main() {}
