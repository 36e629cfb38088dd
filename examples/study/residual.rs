//! A residual network for 28 x 28 gray images.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use freeze_core::nn::ops::{add, flatten_from, relu};
use freeze_core::nn::{
    Conv2d, Conv2dConfig, GroupNorm, Linear, conv2d_no_bias, group_norm, linear,
};
use freeze_core::{Freezable, Staged};

/// The channels of each block; a block with more than the one before halves height and width.
const CHANNELS: [usize; 5] = [16, 16, 32, 32, 64];
/// The channels that a group of a norm has.
const GROUP: usize = 8;

/// A stem that halves the image, five blocks of two convolutions, and a linear layer on their means. Norms are
/// by sample, so that what comes out of a frozen front depends on the sample alone.
#[derive(Freezable)]
#[freeze(stages)]
pub(crate) struct Residual {
    stem: Normed,
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Freezable)]
struct Normed {
    conv: Conv2d,
    norm: GroupNorm,
}

#[derive(Freezable)]
struct Block {
    first: Normed,
    second: Normed,
    /// Where the shape changes.
    shortcut: Option<Normed>,
}

impl Residual {
    pub(crate) fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let mut before = CHANNELS[0];
        let mut block = |(at, &channels): (usize, &usize)| {
            let block = Block::new(before, channels, vb.pp("blocks").pp(at));
            before = channels;
            block
        };
        Ok(Self {
            stem: Normed::new(1, CHANNELS[0], 3, 2, vb.pp("stem"))?,
            blocks: CHANNELS.iter().enumerate().map(&mut block).collect::<Result<_>>()?,
            head: linear(CHANNELS[CHANNELS.len() - 1], 10, vb.pp("head"))?,
        })
    }
}

impl Normed {
    fn new(from: usize, to: usize, side: usize, stride: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let config = Conv2dConfig { padding: side / 2, stride, ..Default::default() };
        Ok(Self {
            conv: conv2d_no_bias(from, to, side, config, vb.pp("conv"))?,
            norm: group_norm(to / GROUP, to, 1e-5, vb.pp("norm"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.conv.forward(x)?)
    }
}

impl Block {
    fn new(from: usize, to: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let (changes, stride) = (from != to, if from == to { 1 } else { 2 });
        let shortcut = || Normed::new(from, to, 1, stride, vb.pp("shortcut"));
        Ok(Self {
            first: Normed::new(from, to, 3, stride, vb.pp("first"))?,
            second: Normed::new(to, to, 3, 1, vb.pp("second"))?,
            shortcut: changes.then(shortcut).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.second.forward(&relu(&self.first.forward(x)?)?)?;
        let outer = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)?,
            None => x.clone(),
        };
        relu(&add(&inner, &outer)?)
    }
}

/// From images [n, 1, 28, 28] to scores [n, 10].
impl Staged for Residual {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: ResidualStage, x: Tensor, (): &()) -> Result<Tensor> {
        match stage {
            ResidualStage::Stem => relu(&self.stem.forward(&x)?),
            ResidualStage::Blocks(at) => self.blocks[at].forward(&x),
            ResidualStage::Head => self.head.forward(&flatten_from(&x, 2)?.mean(2)?),
        }
    }
}
