//! The backward of attention on a card.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Layout, Result, Tensor};

use super::aligned::aligned;
use super::run::{K, Q, Run, S, V, Y, heads, result};
use crate::kernel::attention::Piece;
use crate::kernel::cuda::dropout::{drop_in_place, drop_to};
use crate::kernel::cuda::heads::{Heads, Places};
use crate::kernel::cuda::products::{Matrices, products};
use crate::kernel::cuda::{empty, from_first, of_card, tensor};
use crate::nn::ops::attention::kept::Attention;

/// The gradients of queries, keys and values that are wanted. With probabilities `p`: `dv = pᵀ grad`,
/// `ds = scale * p * (dp - sum(p * dp))` of `dp = grad vᵀ`, `dq = ds k` and `dk = dsᵀ q`; where probabilities were
/// dropped, so are those in `dv`, and `dp`.
pub(in super::super) fn gradients(
    op: &Attention,
    operands: [&Tensor; 3],
    grad: &Tensor,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let grad = aligned(grad)?;
    let held = [operands[0], operands[1], operands[2], &grad].map(Tensor::storage_and_layout);
    let [q, k, v, dy] =
        held.each_ref().map(|(storage, layout)| -> Result<_> { Ok((of_card(storage)?, *layout)) });
    let (q, k, v, dy) = (q?, k?, v?, dy?);
    let (device, dtype) = (&dy.0.device, dy.0.dtype());
    let given = [heads(op, Q, q)?, heads(op, K, k)?, heads(op, V, v)?, result(op, from_first(dy)?)];

    Run::of(op, device, dtype, |run| {
        let mut made = [const { None }; 3];
        for (place, to) in made.iter_mut().enumerate().filter(|(place, _)| wanted[*place]) {
            let sums = if place == Q { dtype } else { run.dtype_of_sums() };
            *to = Some(empty(device, operands[place].elem_count(), sums)?);
        }
        let layouts = operands.map(|operand| Layout::contiguous(operand.shape()));
        let [dq, dk, dv] = [Q, K, V].map(|place| {
            let (Some(made), layout) = (&made[place], &layouts[place]) else { return Ok(None) };
            heads(op, place, (made, layout)).map(Some)
        });
        let to = [dq?, dk?, dv?];
        let room = [run.room()?, run.room()?];
        for piece in &run.pieces {
            run.back(piece, given, to, &room)?;
        }
        let mut gradients = [const { None }; 3];
        for (place, made) in made.into_iter().enumerate() {
            let found = made.map(|made| tensor(made, operands[place].shape()).to_dtype(dtype));
            gradients[place] = found.transpose()?;
        }
        Ok(gradients)
    })
}

impl Run<'_> {
    /// The type in which gradients of keys and values are added up, where a key head has more than one part of them.
    fn dtype_of_sums(&self) -> DType {
        let sizes = &self.op.sizes;
        let parts = |piece: &Piece| piece.members(sizes) > 1 || !piece.is_first(sizes);
        match self.dtype {
            DType::F16 | DType::BF16 if self.pieces.iter().any(parts) => DType::F32,
            dtype => dtype,
        }
    }

    /// Goes back through a piece, from queries, keys, values and the result's gradient to those that are wanted.
    fn back(
        &self,
        piece: &Piece,
        given: [Heads<'_>; 4],
        wanted: [Option<Heads<'_>>; 3],
        room: &[CudaStorage; 2],
    ) -> Result<()> {
        let (sizes, device, drops) = (&self.op.sizes, self.device, self.drops(piece));
        let (keys, rows) = (sizes.keys, piece.queries.len());
        let [p, ds] = room.each_ref().map(|room| self.scores(piece, room));
        let (p, ds) = (p?, ds?);
        let places = Places::new(device, sizes, piece, given.map(Some), p)?;
        let [dq, dk, dv] = wanted;
        let to = Places::new(device, sizes, piece, [dq, dk, dv, None], ds)?;
        self.probabilities(piece, &places, p)?;
        let [q, k, v] = [Q, K, V].map(|place| places.matrices(place));
        let (q, k, v, dy) = (q?, k?, v?, places.matrices(Y)?);
        if dv.is_some() {
            let kept = match &drops {
                None => places.matrices(S)?,
                Some(drops) => {
                    drop_to(device, drops, p, ds)?;
                    to.matrices(S)?
                }
            };
            let of = [keys, sizes.width, rows];
            self.of_keys(piece, of, [kept.turned(), dy], to.matrices(V)?)?;
        }
        if (dq.is_none() && dk.is_none()) || sizes.inner == 0 {
            return Ok(());
        }
        let slopes = to.matrices(S)?;
        products(device, [rows, keys, sizes.width], 1.0, [dy, v.turned()], (slopes, false))?;
        if let Some(drops) = &drops {
            drop_in_place(device, drops, ds)?;
        }
        self.softmax.backward(device, piece, self.op.scale, [p, ds])?;
        if dq.is_some() {
            let of = [rows, sizes.inner, keys];
            products(device, of, 1.0, [slopes, k], (to.matrices(Q)?, false))?;
        }
        if dk.is_some() {
            let of = [keys, sizes.inner, rows];
            self.of_keys(piece, of, [slopes.turned(), q], to.matrices(K)?)?;
        }
        Ok(())
    }

    /// Adds the products of a piece's heads to those of earlier pieces, and of heads that share keys to each other.
    fn of_keys(
        &self,
        piece: &Piece,
        of: [usize; 3],
        [a, b]: [Matrices<'_>; 2],
        to: Matrices<'_>,
    ) -> Result<()> {
        let sizes = &self.op.sizes;
        let (members, is_first) = (piece.members(sizes), piece.is_first(sizes));
        for member in 0..members {
            let (part, adds) = ((member, members), member > 0 || !is_first);
            let (a, b, to) = (a.part(part)?, b.part(part)?, to.part(part)?);
            products(self.device, of, 1.0, [a, b], (to, adds))?;
        }
        Ok(())
    }
}
