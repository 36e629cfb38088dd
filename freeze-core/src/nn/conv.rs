//! Convolution layers.

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::VarBuilder;
pub use candle_nn::{Conv1dConfig, Conv2dConfig};

use super::newtype::newtype;
use super::{BatchNorm, ops};

macro_rules! convolution {
    (
        $(#[$doc:meta])* $layer:ident, $config:ident, $apply:path,
        $(#[$new_doc:meta])* $new:ident, $(#[$bare_doc:meta])* $bare:ident
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $layer(candle_nn::$layer);

        impl $layer {
            /// A layer over the given tensors.
            pub fn new(weight: Tensor, bias: Option<Tensor>, config: $config) -> Self {
                Self(candle_nn::$layer::new(weight, bias, config))
            }

            /// Padding, stride, dilation and groups.
            pub fn config(&self) -> &$config {
                self.0.config()
            }

            /// The weight: output channels, input channels of a group, the kernel.
            pub fn weight(&self) -> &Tensor {
                self.0.weight()
            }

            /// The bias, one for each output channel.
            pub fn bias(&self) -> Option<&Tensor> {
                self.0.bias()
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                $apply(x, self.weight(), self.bias(), self.config())
            }
        }

        newtype!($layer);

        $(#[$new_doc])*
        ///
        /// # Errors
        ///
        /// `vb` cannot give the tensors, channels do not divide into the groups, or there are no inputs.
        pub fn $new(
            in_channels: usize,
            out_channels: usize,
            kernel_size: usize,
            cfg: $config,
            vb: VarBuilder<'_>,
        ) -> Result<$layer> {
            check(stringify!($new), [in_channels, out_channels, kernel_size], cfg.groups)?;
            candle_nn::$new(in_channels, out_channels, kernel_size, cfg, vb).map($layer)
        }

        $(#[$bare_doc])*
        ///
        /// # Errors
        ///
        /// `vb` cannot give the tensor, channels do not divide into the groups, or there are no inputs.
        pub fn $bare(
            in_channels: usize,
            out_channels: usize,
            kernel_size: usize,
            cfg: $config,
            vb: VarBuilder<'_>,
        ) -> Result<$layer> {
            check(stringify!($bare), [in_channels, out_channels, kernel_size], cfg.groups)?;
            candle_nn::$bare(in_channels, out_channels, kernel_size, cfg, vb).map($layer)
        }
    };
}

/// An error for sizes with which candle's constructor makes a weight that fits no input.
fn check(name: &str, [inputs, outputs, kernel]: [usize; 3], groups: usize) -> Result<()> {
    if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
        bail!(
            "{name}: {inputs} input and {outputs} output channels in {groups} groups; expected \
               groups of one size"
        )
    }
    if inputs == 0 || kernel == 0 {
        bail!("{name}: {inputs} input channels and a kernel of {kernel}; expected at least 1")
    }
    Ok(())
}

convolution!(
    /// A convolution over `[n, c, l]` with the tensors of [`candle_nn::Conv1d`]: `weight`
    /// `[c', c / groups, k]` and, unless left out, `bias` `[c']`.
    Conv1d, Conv1dConfig, ops::conv1d,
    /// A layer with a bias, from `weight` and `bias` of `vb`, initialised as candle-nn does.
    conv1d,
    /// A layer without a bias, from `weight` of `vb`.
    conv1d_no_bias
);

convolution!(
    /// A convolution over `[n, c, h, w]` with the tensors of [`candle_nn::Conv2d`]: `weight`
    /// `[c', c / groups, k, k]` and, unless left out, `bias` `[c']`.
    Conv2d, Conv2dConfig, ops::conv2d,
    /// A layer with a bias, from `weight` and `bias` of `vb`, initialised as candle-nn does.
    conv2d,
    /// A layer without a bias, from `weight` of `vb`.
    conv2d_no_bias
);

impl Conv2d {
    /// A layer that computes what this one followed by `bn` computes in inference. Its tensors are
    /// new and do not follow changes of the two.
    ///
    /// # Errors
    ///
    /// The channels of `bn` are not this layer's.
    pub fn absorb_bn(&self, bn: &BatchNorm) -> Result<Self> {
        let channels = self.weight().dim(0)?;
        if bn.running_mean().dims() != [channels] {
            bail!(
                "absorb_bn: the batch norm has channels of shape {:?}, expected [{channels}]",
                bn.running_mean().shape()
            );
        }
        let mean = bn.running_mean();
        let wide = |tensor: &Tensor| tensor.to_dtype(mean.dtype());
        let deviation = (bn.running_var() + bn.eps())?.sqrt()?;
        let (scale, offset) = match bn.weight_and_bias() {
            Some((weight, bias)) => ((wide(weight)? / deviation)?, wide(bias)?),
            None => (deviation.recip()?, mean.zeros_like()?),
        };
        let shift = match self.bias() {
            Some(bias) => (wide(bias)? - mean)?,
            None => mean.neg()?,
        };
        let weight = wide(self.weight())?.broadcast_mul(&scale.reshape((channels, 1, 1, 1))?)?;
        let bias = (offset + (shift * scale)?)?.to_dtype(self.weight().dtype())?;
        let weight = weight.to_dtype(self.weight().dtype())?;
        Ok(Self::new(weight.detach(), Some(bias.detach()), *self.config()))
    }
}
