//! Values that flow between the stages of a model.

mod concatenate;
mod flat;
mod kinds;
mod layout;
mod parts;
mod rows;

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};

pub use flat::Flat;
pub use layout::FlowLayout;
pub use rows::FlowRows;

/// A value that flows from one stage of a model to the next: a `Tensor`, or a tuple, array, `Vec`,
/// `Option` or struct of such values. The first dimension of every tensor is the batch.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use freeze_core::Flow;
///
/// #[derive(Flow)]
/// struct Hidden {
///     states: Tensor,             // (batch, length, width)
///     residual: Option<Tensor>,   // from a stage on
///     skips: Vec<[Tensor; 2]>,    // as many as stages were passed
/// }
///
/// let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
/// let hidden = Hidden { states: zeros(&[8, 5, 4])?, residual: Some(zeros(&[8, 4])?), skips: vec![] };
/// assert_eq!(hidden.batch()?, 8);
///
/// let rows = hidden.to_rows()?; // bytes, of one width for all samples
/// assert_eq!((rows.len(), rows.layout().width()), (8, (5 * 4 + 4) * 4));
/// let some = Hidden::from_rows(rows.layout(), [rows.row(3), rows.row(1)], &Device::Cpu)?;
/// assert_eq!((some.batch()?, some.states.dims()), (2, &[2, 5, 4][..]));
/// let all = Flow::concatenate(&[hidden, some])?;
/// assert_eq!(all.batch()?, 10);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot flow between stages",
    label = "not `Flow`",
    note = "a `Tensor` flows, and so does a tuple, array, `Vec` or `Option` of what flows",
    note = "a struct of tensors: put `#[derive(Flow)]` on it",
    note = "what all samples share, such as a length or a switch, belongs in `Context`"
)]
pub trait Flow: Sized {
    /// Adds every tensor in order, and whatever else determines the form.
    fn flatten(&self, into: &mut Flat);

    /// The inverse of [`flatten`](Self::flatten).
    ///
    /// # Errors
    ///
    /// `from` has a different form.
    fn unflatten(from: &mut Flat) -> Result<Self>;

    /// Every tensor in order.
    fn tensors(&self) -> Vec<Tensor> {
        flattened(self).tensors().cloned().collect()
    }

    /// The number of samples.
    ///
    /// # Errors
    ///
    /// Two tensors have a different number of samples, a tensor has no dimension, or there is no
    /// tensor at all.
    fn batch(&self) -> Result<usize> {
        flattened(self).batch()
    }

    /// The same value with each tensor replaced, such as by one of another type or on another
    /// device.
    ///
    /// # Errors
    ///
    /// Those of `map`.
    fn map_tensors(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        unflattened(flattened(self).map(map)?)
    }

    /// The same value, detached from the graph.
    ///
    /// # Errors
    ///
    /// Only those of a faulty [`unflatten`](Self::unflatten).
    fn detached(&self) -> Result<Self> {
        self.map_tensors(|tensor| Ok(tensor.detach()))
    }

    /// The samples at `rows`, a tensor of indices.
    ///
    /// # Errors
    ///
    /// There is no such sample, or candle failed.
    fn select(&self, rows: &Tensor) -> Result<Self> {
        self.map_tensors(|tensor| Ok(tensor.contiguous()?.index_select(rows, 0)?))
    }

    /// The samples of all `flows`, one after the other.
    ///
    /// # Errors
    ///
    /// `flows` is empty, or two differ in form, type or the size of a sample.
    fn concatenate(flows: &[Self]) -> Result<Self> {
        unflattened(concatenate::concatenate(&flows.iter().map(flattened).collect::<Vec<_>>())?)
    }

    /// The form, types and sizes of one sample.
    ///
    /// # Errors
    ///
    /// As [`batch`](Self::batch), or the elements of a tensor cannot be read.
    fn row_layout(&self) -> Result<FlowLayout> {
        FlowLayout::of(&flattened(self))
    }

    /// Every sample as a row of bytes, all of the same width. Exact, but readable only on machines
    /// with the same byte order.
    ///
    /// # Errors
    ///
    /// As [`row_layout`](Self::row_layout), or candle could not copy a tensor from its device.
    fn to_rows(&self) -> Result<FlowRows> {
        FlowRows::of(&flattened(self))
    }

    /// Builds a batch from rows of samples, of one batch or of several, in the order given.
    ///
    /// # Errors
    ///
    /// A row has another width, or `layout` belongs to another type.
    fn from_rows<'r>(
        layout: &FlowLayout,
        rows: impl IntoIterator<Item = &'r [u8]>,
        device: &Device,
    ) -> Result<Self> {
        unflattened(rows::flat(layout, &rows.into_iter().collect::<Vec<_>>(), device)?)
    }

    /// The inverse of [`to_rows`](Self::to_rows).
    ///
    /// # Errors
    ///
    /// `rows` has the layout of another type.
    fn of_rows(rows: &FlowRows, device: &Device) -> Result<Self> {
        unflattened(rows::whole(rows, device)?)
    }
}

/// A flow laid flat.
pub(crate) fn flattened(flow: &impl Flow) -> Flat {
    let mut flat = Flat::default();
    flow.flatten(&mut flat);
    flat
}

/// The flow that was laid flat.
pub(crate) fn unflattened<F: Flow>(mut flat: Flat) -> Result<F> {
    let flow = F::unflatten(&mut flat)?;
    match flat.next_name() {
        None => Ok(flow),
        Some(part) => {
            let why = "nothing is left to be made of it: the flow was of another type".to_string();
            Err(Error::Flow { part: part.to_string(), why })
        }
    }
}

/// The flow of this layout that has these tensors, in order: each of the samples times the elements of one.
pub(crate) fn of_tensors<F: Flow>(layout: &FlowLayout, tensors: Vec<Tensor>) -> Result<F> {
    unflattened(parts::flat(layout, tensors)?)
}
