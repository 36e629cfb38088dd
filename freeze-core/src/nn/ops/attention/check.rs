//! The checks of attention's operands.

use candle_core::{Error, Result, Tensor, bail};

use super::NAME;
use crate::kernel::attention::Sizes;
use crate::kernel::real_dtype;
use crate::nn::ops::operation::check_dtype;

/// The sizes of a call; an error if the shapes do not fit. With so many heads, of queries and of keys, operands may
/// have them side by side.
pub(super) fn sizes([q, k, v]: [&Tensor; 3], heads: Option<[usize; 2]>) -> Result<Sizes> {
    let (of_queries, of_keys) = (heads.map(|[heads, _]| heads), heads.map(|[_, heads]| heads));
    let [batch, heads, queries, inner] = four("queries", q, of_queries)?;
    let [key_batch, key_heads, keys, key_inner] = four("keys", k, of_keys)?;
    let [value_batch, value_heads, values, width] = four("values", v, of_keys)?;
    if (batch, inner) != (key_batch, key_inner) {
        bail!(
            "{NAME}: the queries have shape {:?}, the keys {:?}; expected the same batch and the same \
             last dimension",
            q.shape(),
            k.shape()
        );
    }
    if [key_batch, key_heads, keys] != [value_batch, value_heads, values] {
        bail!(
            "{NAME}: the keys have shape {:?}, the values {:?}; expected the same but for the last \
             dimension",
            k.shape(),
            v.shape()
        );
    }
    if heads.checked_rem(key_heads).unwrap_or(heads) != 0 {
        bail!(
            "{NAME}: {heads} heads of queries cannot share {key_heads} of keys; expected a multiple"
        );
    }
    if real_dtype(q.dtype()).is_none() {
        return Err(Error::UnsupportedDTypeForOp(q.dtype(), NAME).bt());
    }
    check_dtype(NAME, q.dtype(), ("the keys", k.dtype()))?;
    check_dtype(NAME, q.dtype(), ("the values", v.dtype()))?;
    Ok(Sizes { batch, heads, key_heads, queries, keys, inner, width })
}

fn four(what: &str, tensor: &Tensor, heads: Option<usize>) -> Result<[usize; 4]> {
    match (tensor.dims(), heads) {
        (&[batch, count, length, size], None) => Ok([batch, count, length, size]),
        (&[batch, count, length, size], Some(heads)) if count == heads => {
            Ok([batch, heads, length, size])
        }
        (&[batch, length, width], Some(heads)) if heads > 0 && width % heads == 0 => {
            Ok([batch, heads, length, width / heads])
        }
        (_, None) => bail!(
            "{NAME}: the {what} have shape {:?}, expected [batch, heads, length, size]",
            tensor.shape()
        ),
        (_, Some(heads)) => bail!(
            "{NAME}: the {what} have shape {:?}, expected [batch, length, width] with a width of {heads} \
             heads, or [batch, {heads}, length, size]",
            tensor.shape()
        ),
    }
}

/// The mask with four dimensions, detached.
pub(super) fn bias(mask: &Tensor, q: &Tensor, sizes: &Sizes) -> Result<Tensor> {
    let scores = [sizes.batch, sizes.heads, sizes.queries, sizes.keys];
    let dims = mask.dims();
    let missing = scores.len().checked_sub(dims.len());
    let fits = |missing: usize| {
        let fits = dims.iter().zip(&scores[missing..]).all(|(dim, size)| [1, *size].contains(dim));
        fits && dims.last() == Some(&sizes.keys)
    };
    let Some(missing) = missing.filter(|&missing| fits(missing)) else {
        bail!(
            "{NAME}: the mask has shape {:?}, expected {scores:?}, where all but the last may be 1 or \
             left out from the front",
            mask.shape()
        );
    };
    check_dtype(NAME, q.dtype(), ("the mask", mask.dtype()))?;
    if mask.track_op() {
        bail!("{NAME}: the mask is tracked, but gets no gradient here; detach it");
    }
    mask.reshape([&[1; 4][..missing], dims].concat())?.contiguous()
}

/// The factor of the scores.
pub(super) fn scale(scale: Option<f64>, sizes: &Sizes) -> Result<f64> {
    let value = scale.unwrap_or_else(|| (sizes.inner.max(1) as f64).sqrt().recip());
    match value.is_finite() {
        true => Ok(value),
        false => {
            let error =
                crate::error::Error::Number { name: "scale", value, expected: "a finite number" };
            Err(error.into())
        }
    }
}
