//! Images as sequences of patches: the embeddings that ViT and DINOv2 begin with.

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::{Conv2dConfig, Init, VarBuilder};

use super::positions;
use crate::error::{Error, at_least_1};
use crate::nn::{Conv2d, Dropout, ops};

/// The sizes of images, which are square, and of what becomes of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) channels: usize,
    pub(super) image: usize,
    pub(super) patch: usize,
    pub(super) hidden: usize,
    pub(super) other_images: OtherImages,
}

/// What becomes of an image of another size than the config's.
#[derive(Clone, Copy, Debug)]
pub(super) enum OtherImages {
    Refused,
    /// The position embeddings are interpolated.
    Resized,
}

/// The class token and one token for each patch, with their positions.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct Embeddings {
    #[freeze(param)]
    cls_token: Tensor,
    /// Stands for masked patches in pretraining: files have it, and no forward here reads it.
    #[freeze(param, frozen)]
    mask_token: Option<Tensor>,
    #[freeze(rename = "patch_embeddings.projection")]
    projection: Conv2d,
    #[freeze(param)]
    position_embeddings: Tensor,
    dropout: Dropout,
    #[freeze(skip)]
    sizes: Sizes,
}

impl Embeddings {
    /// Reads `cls_token`, `patch_embeddings.projection`, `position_embeddings` and, if asked for, `mask_token`.
    ///
    /// # Errors
    ///
    /// A size is 0, the patch does not divide the image, or `vb` cannot give a tensor.
    pub(super) fn new(
        sizes: Sizes,
        mask_token: bool,
        dropout: Dropout,
        range: f64,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let Sizes { channels, image, patch, hidden, .. } = sizes;
        let init = Init::Randn { mean: 0.0, stdev: range };
        let places = 1 + (image / patch).pow(2);
        let projection = vb.pp("patch_embeddings.projection");
        let weight = projection.get_with_hints((hidden, channels, patch, patch), "weight", init)?;
        let bias = projection.get_with_hints(hidden, "bias", Init::Const(0.0))?;
        let config = Conv2dConfig { stride: patch, ..Default::default() };
        let mask_token = match mask_token && vb.contains_tensor("mask_token") {
            true => Some(vb.get_with_hints((1, hidden), "mask_token", Init::Const(0.0))?),
            false => None,
        };
        Ok(Self {
            cls_token: vb.get_with_hints((1, 1, hidden), "cls_token", init)?,
            mask_token,
            projection: Conv2d::new(weight, Some(bias), config),
            position_embeddings: vb.get_with_hints(
                (1, places, hidden),
                "position_embeddings",
                init,
            )?,
            dropout,
            sizes,
        })
    }

    /// `[batch, 1 + patches, hidden]` of images `[batch, channels, height, width]`.
    pub(super) fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let Sizes { patch, hidden, image, .. } = self.sizes;
        let (batch, height, width) = self.sizes.check(images)?;
        let patches = self.projection.forward(images)?.flatten_from(2)?.transpose(1, 2)?;
        // Not `broadcast_as`, whose gradient candle adds up in the token's own type.
        let none = Tensor::zeros((batch, 1, hidden), patches.dtype(), patches.device())?;
        let class = ops::add(&none, &self.cls_token)?;
        let tokens = Tensor::cat(&[&class, &patches], 1)?;
        let (from, to) = ((image / patch, image / patch), (height / patch, width / patch));
        let positions = positions::resized(&self.position_embeddings, from, to)?;
        self.dropout.forward(&ops::add(&tokens, &positions)?, train)
    }
}

impl Sizes {
    /// Batch, height and width of images that fit.
    fn check(&self, images: &Tensor) -> Result<(usize, usize, usize)> {
        let &Self { channels, image, patch, .. } = self;
        match (self.other_images, images.dims()) {
            (OtherImages::Refused, &[batch, c, h, w]) if [c, h, w] == [channels, image, image] => {
                Ok((batch, h, w))
            }
            (OtherImages::Refused, dims) => bail!(
                "the images have shape {dims:?}, expected [batch, {channels}, {image}, {image}]: the config's \
                 `num_channels` and `image_size`"
            ),
            (OtherImages::Resized, &[batch, c, h, w])
                if c == channels && [h, w].iter().all(|side| *side > 0 && side % patch == 0) =>
            {
                Ok((batch, h, w))
            }
            (OtherImages::Resized, dims) => bail!(
                "the images have shape {dims:?}, expected [batch, {channels}, height, width] with sides of whole \
                 patches of {patch}"
            ),
        }
    }
}

/// An error unless images have channels and are cut into whole patches.
pub(super) fn check(channels: usize, image: usize, patch: usize) -> crate::error::Result<()> {
    at_least_1("num_channels", channels)?;
    at_least_1("image_size", image)?;
    match image.is_multiple_of(at_least_1("patch_size", patch)?) {
        true => Ok(()),
        false => Err(Error::count("patch_size", patch, "a divisor of `image_size`")),
    }
}
