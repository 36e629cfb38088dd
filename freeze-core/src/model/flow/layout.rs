//! The form of one sample of a flow: types, shapes and counts.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use super::flat::{Flat, Piece, What, unlike};
use crate::error::Result;

/// The form of one sample of a flow: types, shapes and counts. Batches of the same layout can be
/// mixed, whatever their sizes. It can be saved beside the rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Part>", into = "Vec<Part>")]
pub struct FlowLayout {
    parts: Vec<Part>,
    width: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    Tensor {
        #[serde(with = "by_name")]
        dtype: DType,
        /// The shape for one sample.
        shape: Vec<usize>,
    },
    Count(usize),
}

impl FlowLayout {
    pub(super) fn of(flat: &Flat) -> Result<Self> {
        flat.batch()?;
        let part = |piece: &Piece| {
            let form = match &piece.what {
                What::Tensor(tensor) => {
                    let shape = tensor.dims().get(1..).unwrap_or_default().to_vec();
                    Form::Tensor { dtype: tensor.dtype(), shape }
                }
                What::Count(count) => Form::Count(*count),
            };
            Part { name: piece.name.clone(), form }
        };
        Self::new(flat.pieces().map(part).collect())
    }

    fn new(parts: Vec<Part>) -> Result<Self> {
        let mut width = Some(0usize);
        for part in &parts {
            if let Form::Tensor { dtype, .. } = part.form
                && !is_read(dtype)
            {
                let why = format!("candle cannot read elements of type {}", dtype.as_str());
                return Err(unlike(part.name.clone(), why));
            }
            width = width.zip(part.form.width()).and_then(|(sum, part)| sum.checked_add(part));
        }
        let large = || unlike(String::new(), "a sample is larger than memory");
        Ok(Self { width: width.ok_or_else(large)?, parts })
    }

    /// The number of bytes of one sample.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The type of each tensor, and the number of its elements for one sample.
    #[cfg(feature = "cuda")]
    pub(crate) fn tensors(&self) -> Vec<(DType, usize)> {
        let tensor = |part: &Part| match &part.form {
            Form::Tensor { dtype, shape } => Some((*dtype, shape.iter().product())),
            Form::Count(_) => None,
        };
        self.parts.iter().filter_map(tensor).collect()
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The first part in which `other` differs, with a description; `None` if they are equal.
    pub(super) fn difference(&self, other: &Self) -> Option<(String, String)> {
        let pairs = self.parts.iter().zip(&other.parts);
        if let Some((ours, theirs)) = pairs.into_iter().find(|(ours, theirs)| ours != theirs) {
            let why = format!("a sample has {} in one batch and {} in another", ours, theirs);
            return Some((ours.name.clone(), why));
        }
        let longer = if self.parts.len() > other.parts.len() { self } else { other };
        let more = longer.parts.get(self.parts.len().min(other.parts.len()))?;
        Some((more.name.clone(), format!("a sample has {more} in one batch alone")))
    }
}

impl Form {
    /// The number of bytes of one sample; `None` if the shape or strides overflow, even where a
    /// dimension is 0.
    pub(super) fn width(&self) -> Option<usize> {
        let Self::Tensor { dtype, shape } = self else { return Some(0) };
        let size = dtype.size_in_bytes();
        shape.iter().try_fold(size, |product, &dim| product.checked_mul(dim.max(1)))?;
        Some(size * shape.iter().product::<usize>())
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.form {
            Form::Tensor { dtype, shape } => write!(f, "{} of {shape:?}", dtype.as_str()),
            Form::Count(count) => write!(f, "a count of {count}"),
        }
    }
}

impl TryFrom<Vec<Part>> for FlowLayout {
    type Error = crate::error::Error;

    fn try_from(parts: Vec<Part>) -> Result<Self> {
        Self::new(parts)
    }
}

impl From<FlowLayout> for Vec<Part> {
    fn from(layout: FlowLayout) -> Self {
        layout.parts
    }
}

fn is_read(dtype: DType) -> bool {
    use DType::{BF16, F8E4M3, F16, F32, F64, I16, I32, I64, U8, U32};
    matches!(dtype, U8 | U32 | I16 | I32 | I64 | BF16 | F16 | F32 | F64 | F8E4M3)
}

/// Serializes element types by candle's names for them.
mod by_name {
    use std::str::FromStr as _;

    use super::{DType, Deserialize as _};

    pub(super) fn serialize<S: serde::Serializer>(
        dtype: &DType,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(dtype.as_str())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DType, D::Error> {
        let name = String::deserialize(deserializer)?;
        DType::from_str(&name).map_err(serde::de::Error::custom)
    }
}
