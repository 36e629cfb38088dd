//! The form of activations, which a record does not hold.

use candle_core::DType;

use super::rounded::{Rounded, types};
use crate::error::Result;
use crate::model::{Flow, FlowLayout};

/// What must be known of activations to make them from a record.
#[derive(Debug)]
pub(super) struct Form {
    /// Of the stored activations.
    pub(super) layout: FlowLayout,
    /// The types that the tensors were computed in.
    pub(super) types: Vec<DType>,
}

impl Form {
    /// Of activations that are stored as they are.
    pub(super) fn of(flow: &impl Flow) -> Result<Self> {
        Ok(Self { layout: flow.row_layout()?, types: types(flow) })
    }

    pub(super) fn of_rounded(rounded: &Rounded<impl Flow>) -> Result<Self> {
        Ok(Self { layout: rounded.kept.row_layout()?, types: types(&rounded.flow) })
    }
}
