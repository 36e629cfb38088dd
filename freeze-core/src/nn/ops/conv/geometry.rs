//! The sizes of a convolution, checked once.

use candle_core::{Layout, Result, bail};

/// One spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) input: usize,
    pub(super) kernel: usize,
    pub(super) output: usize,
    pub(super) padding: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
}

impl Axis {
    /// Where tap `tap` of the kernel reads for output `out`; `None` in the padding.
    pub(super) fn source(&self, out: usize, tap: usize) -> Option<usize> {
        let padded = out * self.stride + tap * self.dilation;
        padded.checked_sub(self.padding).filter(|&index| index < self.input)
    }

    /// The outputs for which tap `tap` reads inside the input.
    pub(super) fn inside(&self, tap: usize) -> std::ops::Range<usize> {
        let reach = tap * self.dilation;
        let start = self.padding.saturating_sub(reach).div_ceil(self.stride);
        let end = (self.input + self.padding).saturating_sub(reach).div_ceil(self.stride);
        let end = end.min(self.output);
        start.min(end)..end
    }
}

/// A convolution in two dimensions; one in one dimension has a height of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) channels_in: usize,
    pub(super) channels_out: usize,
    pub(super) groups: usize,
    pub(super) height: Axis,
    pub(super) width: Axis,
}

/// Padding, stride, dilation and groups, as candle's configs have them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) padding: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) groups: usize,
}

impl Geometry {
    /// The geometry of `x` and `weight`, which are `[n, c, l]` and `[c', c / groups, k]` or have two
    /// spatial dimensions each.
    pub(super) fn new(name: &str, x: &Layout, weight: &Layout, set: Settings) -> Result<Self> {
        let Settings { padding, stride, dilation, groups } = set;
        if stride == 0 || dilation == 0 || groups == 0 {
            bail!(
                "{name}: stride {stride}, dilation {dilation}, groups {groups}; expected at least 1"
            );
        }
        let (batch, channels_in, channels_out, per_group, spatial) = match (x.dims(), weight.dims())
        {
            (&[n, c, l], &[o, g, k]) => (n, c, o, g, [(1, 1), (l, k)]),
            (&[n, c, h, w], &[o, g, kh, kw]) => (n, c, o, g, [(h, kh), (w, kw)]),
            _ => bail!(
                "{name}: the input has shape {:?} and the weight {:?}; expected as many dimensions \
                 in both: batch, channels and the spatial ones",
                x.shape(),
                weight.shape()
            ),
        };
        if channels_in != per_group * groups {
            bail!(
                "{name}: the input has {channels_in} channels, expected {}: {groups} group(s) of \
                 the {per_group} that the weight {:?} reads",
                per_group * groups,
                weight.shape()
            );
        }
        if channels_out % groups != 0 {
            bail!("{name}: {channels_out} output channels do not divide into {groups} groups");
        }
        let axis = |(input, kernel): (usize, usize), padding, stride, dilation| -> Result<Axis> {
            let reach = if kernel == 0 { 0 } else { dilation * (kernel - 1) + 1 };
            if reach == 0 || reach > input + 2 * padding {
                bail!(
                    "{name}: a kernel of {kernel} with dilation {dilation} spans {reach} and the \
                     input with its padding {}; expected 1 to that many",
                    input + 2 * padding
                );
            }
            let output = (input + 2 * padding - reach) / stride + 1;
            Ok(Axis { input, kernel, output, padding, stride, dilation })
        };
        let height = match x.dims().len() {
            3 => axis(spatial[0], 0, 1, 1)?,
            _ => axis(spatial[0], padding, stride, dilation)?,
        };
        let width = axis(spatial[1], padding, stride, dilation)?;
        Ok(Self { batch, channels_in, channels_out, groups, height, width })
    }

    /// The input channels of a group.
    pub(super) fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    /// The output channels of a group.
    pub(super) fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// The rows of a group's column matrix: one for each of the weights of an output channel.
    pub(super) fn taps(&self) -> usize {
        self.group_in() * self.height.kernel * self.width.kernel
    }

    /// The elements of one input.
    pub(super) fn sample_in(&self) -> usize {
        self.channels_in * self.height.input * self.width.input
    }

    /// The elements of one output channel.
    pub(super) fn pixels(&self) -> usize {
        self.height.output * self.width.output
    }

    /// The elements of one output.
    pub(super) fn sample_out(&self) -> usize {
        self.channels_out * self.pixels()
    }

    /// The elements of the weight.
    pub(super) fn weights(&self) -> usize {
        self.channels_out * self.taps()
    }
}
