//! Images of Fashion-MNIST, by a residual network or a small vision transformer.

use candle_core::{DType, Device};
use freeze_core::init::Seeded;
use freeze_core::models::ImageContext;
use freeze_core::models::vit::{Config, ViTForImageClassification};
use freeze_core::train::Epoch;

use crate::common::dataset::{Dataset, Images};
use crate::common::{Result, idx};
use crate::job::{Batch, Job, Part, Places};
use crate::residual::Residual;
use crate::row::Row;

/// Three parts: validation images follow those for training in the published order, which is random.
pub(crate) struct Parts {
    data: Dataset,
    train: usize,
    valid: usize,
    test: usize,
    batch: usize,
}

pub(crate) struct ResidualJob(Parts);

pub(crate) struct VisionJob {
    parts: Parts,
    blocks: usize,
}

impl Parts {
    /// Those that a row asks for.
    ///
    /// # Errors
    ///
    /// The files cannot be read, or there are not as many images.
    pub(crate) fn of(row: &Row, places: &Places) -> Result<Self> {
        let data = Dataset::load(places.images.as_deref())?;
        let (train, valid, test) = (row.train, row.valid, row.test);
        let found = (data.train.len(), data.test.len());
        if train + valid > found.0 || test > found.1 {
            return Err(format!(
                "{train} images for training and {valid} for validation of {}, {test} for the test of {}; take \
                 fewer, or `--images` with the folder of the full set",
                found.0, found.1
            )
            .into());
        }
        Ok(Self { data, train, valid, test, batch: row.batch })
    }

    fn images(&self, part: Part) -> &Images {
        match part {
            Part::Train | Part::Valid => &self.data.train,
            Part::Test => &self.data.test,
        }
    }

    fn in_order(&self, part: Part) -> Vec<Vec<u32>> {
        let (from, count) = match part {
            Part::Train => (0, self.train),
            Part::Valid => (self.train, self.valid),
            Part::Test => (0, self.test),
        };
        let all: Vec<u32> = (from..from + count).map(|at| at as u32).collect();
        all.chunks(self.batch).map(<[u32]>::to_vec).collect()
    }

    fn batch<C>(&self, part: Part, which: &[u32], context: C) -> candle_core::Result<Batch<C>> {
        let (inputs, classes) = self.images(part).pick(which)?;
        Ok(Batch { keys: which.iter().map(|&at| at.into()).collect(), inputs, context, classes })
    }
}

impl ResidualJob {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(parts)
    }
}

impl VisionJob {
    pub(crate) fn new(parts: Parts, blocks: usize) -> Self {
        Self { parts, blocks }
    }
}

impl Job for ResidualJob {
    type Context = ();
    type Net = Residual;

    fn net(&self, seed: u64) -> Result<Residual> {
        Ok(Residual::new(Seeded::builder(seed, DType::F32, &Device::Cpu))?)
    }

    fn shuffled(&self, epoch: &Epoch) -> Vec<Vec<u32>> {
        epoch.shuffled(self.0.train, self.0.batch).collect()
    }

    fn in_order(&self, part: Part) -> Vec<Vec<u32>> {
        self.0.in_order(part)
    }

    fn batch(&self, part: Part, which: &[u32]) -> candle_core::Result<Batch<()>> {
        self.0.batch(part, which, ())
    }
}

impl Job for VisionJob {
    type Context = ImageContext;
    type Net = ViTForImageClassification;

    fn net(&self, seed: u64) -> Result<ViTForImageClassification> {
        // 16 patches of 7 x 7 pixels and the token of the class.
        let config = Config {
            hidden_size: 64,
            num_hidden_layers: self.blocks,
            num_attention_heads: 4,
            intermediate_size: 128,
            image_size: idx::SIDE,
            patch_size: 7,
            num_channels: 1,
            ..Default::default()
        };
        let vb = Seeded::builder(seed, DType::F32, &Device::Cpu);
        Ok(ViTForImageClassification::new(&config, idx::CLASSES, vb)?)
    }

    fn shuffled(&self, epoch: &Epoch) -> Vec<Vec<u32>> {
        epoch.shuffled(self.parts.train, self.parts.batch).collect()
    }

    fn in_order(&self, part: Part) -> Vec<Vec<u32>> {
        self.parts.in_order(part)
    }

    fn batch(&self, part: Part, which: &[u32]) -> candle_core::Result<Batch<ImageContext>> {
        self.parts.batch(part, which, ImageContext { train: part == Part::Train })
    }
}
