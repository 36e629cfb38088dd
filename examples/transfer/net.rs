//! A body of convolutions that is reused, and a head that is trained anew.

use candle_core::{Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, VarBuilder, conv2d, linear};
use freeze_core::Freezable;

/// The leaves are `body.0` to `body.3` and `head`.
#[derive(Freezable)]
pub(crate) struct Net {
    pub(crate) body: Vec<Conv2d>,
    pub(crate) head: Linear,
}

impl Net {
    /// The four convolutions, halving the image after the first two.
    pub(crate) fn body(vb: VarBuilder<'_>) -> Result<Vec<Conv2d>> {
        let same = Conv2dConfig { padding: 1, ..Default::default() };
        let channels = [1, 8, 16, 32, 32];
        let pairs = channels.windows(2).enumerate();
        pairs.map(|(i, pair)| conv2d(pair[0], pair[1], 3, same, vb.pp(i))).collect()
    }

    /// A linear layer for `classes` classes.
    pub(crate) fn head(classes: usize, vb: VarBuilder<'_>) -> Result<Linear> {
        linear(32 * 7 * 7, classes, vb)
    }
}

impl Module for Net {
    /// Scores [n, classes] of images [n, 1, 28, 28].
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for (i, conv) in self.body.iter().enumerate() {
            x = x.apply(conv)?.relu()?;
            if i < 2 {
                x = x.avg_pool2d(2)?;
            }
        }
        x.flatten_from(1)?.apply(&self.head)
    }
}
