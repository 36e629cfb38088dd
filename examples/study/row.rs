//! One run of the study, and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The settings of a run: those that a row of the TOML gives, with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) task: String,
    /// What tables call it.
    pub(crate) name: String,
    pub(crate) model: Model,
    /// As text; `none` trains all layers.
    pub(crate) policy: String,
    pub(crate) cache: Cache,
    pub(crate) schedule: Schedule,
    pub(crate) epochs: usize,
    /// The highest learning rate.
    pub(crate) rate: f64,
    pub(crate) batch: usize,
    /// Samples for training.
    pub(crate) train: usize,
    /// Samples that settings are chosen by.
    pub(crate) valid: usize,
    /// Samples that are looked at once; with none the test is left for later.
    pub(crate) test: usize,
    /// So many stages in a row run again in the backward; 0 for none.
    pub(crate) recompute: usize,
    /// Each gradient is used within the backward and freed; norms are not clipped then.
    pub(crate) release: bool,
    pub(crate) seed: u64,
}

/// What is trained; as text `residual`, `minilm`, `vision`, or `vision-12` for a vision transformer of 12 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum Model {
    /// A residual network on Fashion-MNIST.
    Residual,
    /// A small vision transformer on Fashion-MNIST.
    Vision { blocks: usize },
    /// MiniLM on sentences of movie reviews.
    Minilm,
}

/// Where outputs of the frozen front are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cache {
    /// Nowhere: they are computed in every epoch.
    #[default]
    Off,
    /// In memory, for the run.
    On,
    /// In files, for later runs too.
    Kept,
}

/// The learning rate over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Schedule {
    /// Up over the first tenth, then down along half a cosine.
    #[default]
    Cosine,
    /// The same throughout, for policies that bring their own.
    Constant,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// After the last epoch.
    pub(crate) valid_accuracy: f64,
    pub(crate) test_accuracy: Option<f64>,
    /// Of training, without looking at accuracy.
    pub(crate) seconds: f64,
    /// As [`seconds`](Self::seconds), of all threads.
    pub(crate) processor_seconds: Option<f64>,
    /// The most that the process held at a time.
    pub(crate) peak_bytes: Option<u64>,
    /// The most bytes of optimizer state at the end of a step.
    pub(crate) state_bytes: u64,
    /// The share of leaves that trained, over all steps.
    pub(crate) leaf_steps: f64,
    pub(crate) threads: usize,
    /// After each epoch.
    pub(crate) curve: Curve,
}

/// Seconds of training and validation accuracy; as text `1.25:0.8130 2.51:0.8444`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Curve(pub(crate) Vec<(f64, f64)>);

impl Row {
    /// The row with one seed for all: runs that differ by their seed alone are one line of a table.
    pub(crate) fn without_seed(&self) -> Self {
        Self { seed: 0, ..self.clone() }
    }

    /// The row with one rate and one seed for all: runs that differ by these alone are a sweep.
    pub(crate) fn sweep(&self) -> Self {
        Self { rate: 0.0, ..self.without_seed() }
    }

    /// The row with no stage run again and no gradient freed early.
    pub(crate) fn plain(&self) -> Self {
        Self { recompute: 0, release: false, ..self.clone() }
    }

    /// Whether both train one model on the same samples, and save memory in the same way.
    pub(crate) fn is_comparable(&self, other: &Self) -> bool {
        let samples = |row: &Self| (row.model, row.batch, row.train, row.valid, row.test);
        let memory = |row: &Self| (row.recompute, row.release);
        samples(self) == samples(other) && memory(self) == memory(other)
    }

    /// Whether all layers train.
    pub(crate) fn trains_all(&self) -> bool {
        self.policy == "none"
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, name, model, epochs, rate, seed, .. } = self;
        write!(f, "{task}: {name}, {model}, {epochs} epochs, rate {rate}, seed {seed}")
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Kept => "kept",
        })
    }
}

/// The blocks of a vision transformer whose text names no number.
const BLOCKS: usize = 6;

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Residual => f.write_str("residual"),
            Self::Vision { blocks: BLOCKS } => f.write_str("vision"),
            Self::Vision { blocks } => write!(f, "vision-{blocks}"),
            Self::Minilm => f.write_str("minilm"),
        }
    }
}

impl From<Model> for String {
    fn from(model: Model) -> Self {
        model.to_string()
    }
}

impl TryFrom<String> for Model {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let blocks = |text: &str| text.strip_prefix("vision-")?.parse().ok();
        match (&*text, blocks(&text)) {
            ("residual", _) => Ok(Self::Residual),
            ("vision", _) => Ok(Self::Vision { blocks: BLOCKS }),
            (_, Some(blocks @ 1..=1000)) => Ok(Self::Vision { blocks }),
            ("minilm", _) => Ok(Self::Minilm),
            _ => Err(format!(
                "`{text}` is no model; expected `residual`, `vision`, `vision-N` with 1 to 1000 \
                 blocks, or `minilm`"
            )),
        }
    }
}

impl From<Curve> for String {
    fn from(curve: Curve) -> Self {
        let point = |(seconds, accuracy): &(f64, f64)| format!("{seconds:.3}:{accuracy:.5}");
        curve.0.iter().map(point).collect::<Vec<_>>().join(" ")
    }
}

impl TryFrom<String> for Curve {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let point = |point: &str| {
            let (seconds, accuracy) = point.split_once(':')?;
            Some((seconds.parse().ok()?, accuracy.parse().ok()?))
        };
        let points = text.split_whitespace().map(point).collect::<Option<Vec<_>>>();
        points.map(Self).ok_or_else(|| format!("`{text}` is no curve such as `1.25:0.8130`"))
    }
}
