//! Settings of a cache.

use candle_core::DType;

use crate::error::{Error, Result, near};

/// Up to which stage activations are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Boundary {
    /// In front of the first stage that trains.
    #[default]
    Deepest,
    /// Where reading a record and running the frozen stages behind it take least together, measured on the
    /// first batch after stages froze: not behind a cheap stage with a large output. Nothing is stored if
    /// running all of them takes least.
    Cheapest,
    /// In front of the stage with this path, or of the first stage that trains if that comes earlier.
    Before(String),
}

/// The type that activations are stored in. Only f32 and f64 are converted, and the outputs that training
/// continues with are rounded the same way, so a run does not depend on what was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Their own type.
    #[default]
    Exact,
    /// f16: 2 bytes, 11 bits of precision, up to 65504. A sample with a larger number is not stored.
    F16,
    /// bf16: 2 bytes, 8 bits of precision, the range of f32.
    BF16,
}

impl Boundary {
    /// The largest number of stages whose outputs may be stored.
    pub(super) fn limit(&self, paths: &[String]) -> Result<usize> {
        match self {
            Self::Deepest | Self::Cheapest => Ok(paths.len()),
            Self::Before(path) => paths.iter().position(|other| other == path).ok_or_else(|| {
                let near = near(path, paths.iter().map(String::as_str));
                Error::cache(format!(
                    "its boundary is `{path}`, which is no stage of the model{near}"
                ))
            }),
        }
    }
}

impl Precision {
    /// The type in which a tensor of `dtype` is stored.
    pub(super) fn kept(self, dtype: DType) -> DType {
        match (self, dtype) {
            (Self::F16, DType::F32 | DType::F64) => DType::F16,
            (Self::BF16, DType::F32 | DType::F64) => DType::BF16,
            _ => dtype,
        }
    }
}
