//! A call on a card, cut in pieces.

use candle_core::backend::BackendDevice;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, bail};

use crate::kernel::Drops;
use crate::kernel::attention::Piece;
use crate::kernel::cuda::attention::Softmax;
use crate::kernel::cuda::heads::{Heads, Places};
use crate::kernel::cuda::products::products;
use crate::kernel::cuda::{Array, empty, from_first, on_card};
use crate::nn::ops::attention::NAME;
use crate::nn::ops::attention::kept::{Attention, steps};
use crate::nn::ops::operation::Operand;

/// The most bytes of scores that exist at a time, unless a row has more; a backward has two of these. Enough to keep a
/// card busy.
const SCORES: usize = 64 << 20;

/// Where each of the operands and of their gradients is among the arrays of a piece, and the scores behind them.
pub(super) const Q: usize = 0;
pub(super) const K: usize = 1;
pub(super) const V: usize = 2;
pub(super) const Y: usize = 3;
pub(super) const S: usize = 4;

/// A call on a card.
pub(super) struct Run<'a> {
    pub(super) op: &'a Attention,
    pub(super) device: &'a CudaDevice,
    pub(super) dtype: DType,
    pub(super) softmax: Softmax<'a>,
    pub(super) pieces: Vec<Piece>,
}

impl<'a> Run<'a> {
    fn new(
        op: &'a Attention,
        device: &'a CudaDevice,
        dtype: DType,
        bias: Option<(Array<'a>, [usize; 3])>,
    ) -> Self {
        let Attention { sizes, sight, .. } = *op;
        let most = if sizes.inner == 0 { usize::MAX } else { SCORES / dtype.size_in_bytes() };
        let (softmax, pieces) = (Softmax { sizes, sight, bias }, Piece::all(&sizes, most));
        Self { op, device, dtype, softmax, pieces }
    }

    /// Passes a call to `run`.
    pub(super) fn of<R>(
        op: &Attention,
        device: &CudaDevice,
        dtype: DType,
        run: impl FnOnce(Run<'_>) -> Result<R>,
    ) -> Result<R> {
        let Some(bias) = &op.bias else { return run(Run::new(op, device, dtype, None)) };
        on_card([bias], |other, [values]| match other.same_device(device) {
            true => run(Run::new(op, device, dtype, Some((values, steps(bias))))),
            false => bail!("{NAME}: the mask is on another card than the queries"),
        })
    }

    /// Room for the scores of any piece.
    pub(super) fn room(&self) -> Result<CudaStorage> {
        let most = self.pieces.iter().map(Piece::rows).max().unwrap_or(0) * self.op.sizes.keys;
        match self.op.sizes.inner {
            // Sums of nothing, all in one piece.
            0 => self.device.zeros_impl(&Shape::from(most), self.dtype),
            _ => empty(self.device, most, self.dtype),
        }
    }

    pub(super) fn scores<'r>(&self, piece: &Piece, room: &'r CudaStorage) -> Result<Array<'r>> {
        Array::whole(room)?.part(0, piece.rows() * self.op.sizes.keys)
    }

    /// Writes the probabilities of a piece, of which none is dropped, to `scores`.
    pub(super) fn probabilities(
        &self,
        piece: &Piece,
        places: &Places,
        scores: Array<'_>,
    ) -> Result<()> {
        let (sizes, to) = (&self.op.sizes, places.matrices(S)?);
        let of = [piece.queries.len(), sizes.keys, sizes.inner];
        if sizes.inner > 0 {
            let (q, k) = (places.matrices(Q)?, places.matrices(K)?.turned());
            products(self.device, of, self.op.scale, [q, k], (to, false))?;
        }
        self.softmax.forward(self.device, piece, scores)
    }

    /// Which of a piece's probabilities are dropped.
    pub(super) fn drops(&self, piece: &Piece) -> Option<Drops> {
        let sizes = &self.op.sizes;
        self.op.drops.map(|drops| drops.from(piece.row(sizes) * sizes.keys))
    }
}

/// Where the heads of an operand lie, of queries, keys or values.
pub(super) fn heads<'a>(
    op: &Attention,
    place: usize,
    operand: Operand<'a, CudaStorage>,
) -> Result<Heads<'a>> {
    let of = op.sizes.operands()[place];
    let steps = match *operand.1.stride() {
        [batch, row, _] => [batch, of[2], row],
        [batch, head, row, _] => [batch, head, row],
        _ => [0; 3],
    };
    // A step from the only row goes nowhere.
    let steps = [steps[0], steps[1], if of[1] == 1 { of[2] } else { steps[2] }];
    Ok(Heads { array: from_first(operand)?, sizes: of, steps, by_query: place == Q })
}

/// The heads of a result that was made in the order of the call.
pub(super) fn result<'a>(op: &Attention, array: Array<'a>) -> Heads<'a> {
    let sizes = op.sizes.result();
    Heads { array, sizes, steps: op.order.steps(sizes), by_query: true }
}
