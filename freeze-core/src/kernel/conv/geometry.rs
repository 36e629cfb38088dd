//! The sizes of a convolution, checked once.

use candle_core::{Layout, Result, Shape, bail};

/// One spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) kernel: usize,
    pub(crate) output: usize,
    pub(crate) padding: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
}

impl Axis {
    /// The input position that tap `tap` of the kernel reads for output `out`; `None` in the
    /// padding.
    pub(crate) fn source(&self, out: usize, tap: usize) -> Option<usize> {
        let padded = out * self.stride + tap * self.dilation;
        padded.checked_sub(self.padding).filter(|&index| index < self.input)
    }

    /// The outputs for which tap `tap` reads inside the input.
    pub(crate) fn inside(&self, tap: usize) -> std::ops::Range<usize> {
        let reach = tap * self.dilation;
        let start = self.padding.saturating_sub(reach).div_ceil(self.stride);
        let end = (self.input + self.padding).saturating_sub(reach).div_ceil(self.stride);
        let end = end.min(self.output);
        start.min(end)..end
    }
}

/// A convolution in two dimensions; one in one dimension has a height of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) groups: usize,
    pub(crate) height: Axis,
    pub(crate) width: Axis,
}

/// Padding, stride, dilation and groups, as candle's configs have them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) padding: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
}

impl Geometry {
    /// The shape of the result, with as many dimensions as the input.
    pub(crate) fn shape(&self, rank: usize) -> Shape {
        match rank {
            3 => Shape::from((self.batch, self.channels_out, self.width.output)),
            _ => {
                Shape::from((self.batch, self.channels_out, self.height.output, self.width.output))
            }
        }
    }

    /// The geometry of `x` and `weight`, which are `[n, c, l]` and `[c', c / groups, k]` or have two
    /// spatial dimensions each.
    pub(crate) fn new(name: &str, x: &Layout, weight: &Layout, set: Settings) -> Result<Self> {
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
        if per_group.checked_mul(groups) != Some(channels_in) {
            bail!(
                "{name}: the input has {channels_in} channels, expected {}: {groups} group(s) of \
                 the {per_group} that the weight {:?} reads",
                per_group as u128 * groups as u128,
                weight.shape()
            );
        }
        if channels_in == 0 || spatial.iter().any(|axis| axis.0 == 0) {
            bail!("{name}: a sample of the input {:?} is empty", x.shape());
        }
        if channels_out % groups != 0 {
            bail!("{name}: {channels_out} output channels do not divide into {groups} groups");
        }
        let axis = |(input, kernel): (usize, usize), padding, stride, dilation| -> Result<Axis> {
            // In a wide type, because the numbers come from the user.
            let reach = kernel.checked_sub(1).map_or(0, |gaps| dilation as u128 * gaps as u128 + 1);
            let padded = input as u128 + 2 * padding as u128;
            if reach == 0 || reach > padded {
                bail!(
                    "{name}: a kernel of {kernel} with dilation {dilation} spans {reach} and the \
                     input with its padding {padded}; expected 1 to that many"
                );
            }
            match usize::try_from((padded - reach) / stride as u128 + 1) {
                Ok(output) if padded <= isize::MAX as u128 => {
                    Ok(Axis { input, kernel, output, padding, stride, dilation })
                }
                _ => bail!("{name}: a padding of {padding} is too large"),
            }
        };
        let height = match x.dims().len() {
            3 => axis(spatial[0], 0, 1, 1)?,
            _ => axis(spatial[0], padding, stride, dilation)?,
        };
        let width = axis(spatial[1], padding, stride, dilation)?;
        let geometry = Self { batch, channels_in, channels_out, groups, height, width };
        if !geometry.has_room() {
            bail!(
                "{name}: no memory for a result of [{batch}, {channels_out}, {}, {}]; the padding is \
                 {padding}",
                height.output,
                width.output
            );
        }
        Ok(geometry)
    }

    /// Whether there can be enough memory for the result and the columns of one row of it.
    fn has_room(&self) -> bool {
        /// Smaller sizes are not checked.
        const ASKED: usize = 1 << 27;
        let product = |factors: &[usize]| {
            factors.iter().try_fold(1usize, |product, &factor| product.checked_mul(factor))
        };
        let result = [self.batch, self.channels_out, self.height.output, self.width.output];
        let columns = [self.taps(), self.width.output];
        [product(&result), product(&columns)].into_iter().all(|elements| {
            elements.is_some_and(|elements| {
                elements < ASKED || Vec::<f64>::new().try_reserve_exact(elements).is_ok()
            })
        })
    }

    /// The input channels of a group.
    pub(crate) fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    /// The output channels of a group.
    pub(crate) fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// The rows of a group's column matrix: one for each of the weights of an output channel.
    pub(crate) fn taps(&self) -> usize {
        self.group_in() * self.height.kernel * self.width.kernel
    }

    /// The elements of one input.
    pub(crate) fn sample_in(&self) -> usize {
        self.channels_in * self.height.input * self.width.input
    }

    /// The elements of one output channel.
    pub(crate) fn pixels(&self) -> usize {
        self.height.output * self.width.output
    }

    /// The elements of one output.
    pub(crate) fn sample_out(&self) -> usize {
        self.channels_out * self.pixels()
    }

    /// The elements of the weight.
    pub(crate) fn weights(&self) -> usize {
        self.channels_out * self.taps()
    }
}
