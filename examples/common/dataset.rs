//! Fashion-MNIST as tensors: the embedded subset, or the published files from a folder.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use twox_hash::XxHash3_128;

use super::Result;
use super::idx::{self, SIDE};

macro_rules! embedded {
    ($split:literal) => {
        idx::parse_split(
            (
                concat!("embedded ", $split, " images"),
                &include_bytes!(concat!("../data/", $split, "-images-idx3-ubyte.gz"))[..],
            ),
            (
                concat!("embedded ", $split, " labels"),
                &include_bytes!(concat!("../data/", $split, "-labels-idx1-ubyte.gz"))[..],
            ),
        )
    };
}

/// A training and a test set.
pub(crate) struct Dataset {
    pub(crate) train: Images,
    pub(crate) test: Images,
}

/// Images and their classes.
#[derive(Clone)]
pub(crate) struct Images {
    /// Bytes: [n, 1, 28, 28].
    pixels: Tensor,
    /// Classes as u32: [n].
    labels: Tensor,
}

/// One batch: images [n, 1, 28, 28] in f32, and their classes [n].
pub(crate) type Batch = (Tensor, Tensor);

impl Dataset {
    /// The four files in `folder`, or the embedded subset of 2600 training and 700 test images.
    ///
    /// # Errors
    ///
    /// A file is missing or wrong: one line that names it.
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self> {
        let (train, test) = match folder {
            Some(folder) => (idx::read_split(folder, "train")?, idx::read_split(folder, "t10k")?),
            None => (embedded!("train")?, embedded!("t10k")?),
        };
        Ok(Self { train: Images::new(train)?, test: Images::new(test)? })
    }

    /// At most the first `limit` images of either set.
    ///
    /// # Errors
    ///
    /// candle failed.
    pub(crate) fn limited(&self, limit: usize) -> Result<Self> {
        Ok(Self { train: self.train.limited(limit)?, test: self.test.limited(limit)? })
    }

    /// A text by which sets are told apart.
    ///
    /// # Errors
    ///
    /// candle failed.
    pub(crate) fn checksum(&self) -> Result<String> {
        let bytes = [self.train.bytes()?, self.test.bytes()?].concat();
        Ok(format!("{:032x}", XxHash3_128::oneshot(&bytes)))
    }

    /// Only the images of the given classes, which are renumbered from 0 in the order given.
    ///
    /// # Errors
    ///
    /// There is no image of these classes, or candle failed.
    pub(crate) fn of_classes(&self, classes: &[u32]) -> Result<Self> {
        Ok(Self { train: self.train.of_classes(classes)?, test: self.test.of_classes(classes)? })
    }
}

impl Images {
    fn new(split: idx::Split) -> Result<Self> {
        let labels: Vec<u32> = split.labels.into_iter().map(u32::from).collect();
        let count = labels.len();
        let pixels = Tensor::from_vec(split.pixels, (count, 1, SIDE, SIDE), &Device::Cpu)?;
        Ok(Self { pixels, labels: Tensor::from_vec(labels, count, &Device::Cpu)? })
    }

    /// The number of images.
    pub(crate) fn len(&self) -> usize {
        self.labels.elem_count()
    }

    /// The number of batches of `size` in one pass, the last one possibly smaller.
    pub(crate) fn batches(&self, size: usize) -> usize {
        self.len().div_ceil(size)
    }

    /// The images in their order, in batches of `size`.
    pub(crate) fn ordered(&self, size: usize) -> impl Iterator<Item = candle_core::Result<Batch>> {
        let batch = move |at: usize| {
            let end = self.len().min((at + 1) * size);
            self.pick(&(at * size..end).map(|at| at as u32).collect::<Vec<_>>())
        };
        (0..self.batches(size)).map(batch)
    }

    /// The images at the given indices.
    ///
    /// # Errors
    ///
    /// candle failed.
    pub(crate) fn pick(&self, which: &[u32]) -> candle_core::Result<Batch> {
        let picked = Tensor::new(which, &Device::Cpu)?;
        let pixels = self.pixels.index_select(&picked, 0)?.to_dtype(DType::F32)?;
        // To mean 0 and standard deviation 1, by those of Fashion-MNIST: 0.286 and 0.353 of 255.
        let images = pixels.affine(1.0 / (255.0 * 0.353), -0.286 / 0.353)?;
        Ok((images, self.labels.index_select(&picked, 0)?))
    }

    /// Pixels and classes.
    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = self.pixels.flatten_all()?.to_vec1::<u8>()?;
        bytes.extend(self.labels.to_vec1::<u32>()?.into_iter().flat_map(u32::to_le_bytes));
        Ok(bytes)
    }

    fn limited(&self, limit: usize) -> Result<Self> {
        let count = limit.min(self.len());
        let pixels = self.pixels.narrow(0, 0, count)?;
        Ok(Self { pixels, labels: self.labels.narrow(0, 0, count)? })
    }

    fn of_classes(&self, classes: &[u32]) -> Result<Self> {
        let labels = self.labels.to_vec1::<u32>()?;
        let place = |label: &u32| classes.iter().position(|class| class == label);
        let kept = labels.iter().enumerate().filter_map(|(at, label)| Some((at, place(label)?)));
        let (at, labels): (Vec<u32>, Vec<u32>) =
            kept.map(|(at, label)| (at as u32, label as u32)).unzip();
        if labels.is_empty() {
            let text = format!("no image of the classes {classes:?} among {}", self.len());
            return Err(format!("{text}; take more images").into());
        }
        let pixels = self.pixels.index_select(&Tensor::new(at, &Device::Cpu)?, 0)?;
        Ok(Self { pixels, labels: Tensor::new(labels, &Device::Cpu)? })
    }
}
