//! A deep network of small layers, so that there is something to decide about.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use freeze_core::Freezable;
use freeze_core::nn::{LayerNorm, Linear, layer_norm, linear};
use freeze_core::policy::Output;

const WIDTH: usize = 48;
const BLOCKS: usize = 6;

/// A stem, six residual blocks and a head: fourteen leaves, in the order in which they are declared.
#[derive(Freezable)]
pub(crate) struct Net {
    stem: Linear,
    body: Vec<Block>,
    head: Linear,
}

#[derive(Freezable)]
struct Block {
    norm: LayerNorm,
    linear: Linear,
}

impl Net {
    pub(crate) fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let block = |i: usize| {
            let vb = vb.pp("body").pp(i);
            let norm = layer_norm(WIDTH, 1e-5, vb.pp("norm"))?;
            Ok(Block { norm, linear: linear(WIDTH, WIDTH, vb.pp("linear"))? })
        };
        Ok(Self {
            stem: linear(28 * 28, WIDTH, vb.pp("stem"))?,
            body: (0..BLOCKS).map(block).collect::<Result<_>>()?,
            head: linear(WIDTH, 10, vb.pp("head"))?,
        })
    }

    /// What comes out of the stem and of each block, for policies that compare it.
    pub(crate) fn outputs(&self, images: &Tensor) -> Result<Vec<Output>> {
        let mut x = images.flatten_from(1)?.apply(&self.stem)?;
        let mut outputs = vec![Output { leaves: 1, tensor: x.clone() }];
        for (i, block) in self.body.iter().enumerate() {
            x = block.forward(&x)?;
            outputs.push(Output { leaves: 3 + 2 * i, tensor: x.clone() });
        }
        Ok(outputs)
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x + x.apply(&self.norm)?.apply(&self.linear)?.relu()?
    }
}

impl Module for Net {
    /// Scores [n, 10] of images [n, 1, 28, 28].
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = images.flatten_from(1)?.apply(&self.stem)?;
        let x = self.body.iter().try_fold(x, |x, block| block.forward(&x))?;
        x.apply(&self.head)
    }
}
