//! Scaled dot-product attention without a matrix of scores.

#[cfg(feature = "cuda")]
mod card;
mod check;
mod heads;
mod kept;
mod op;
mod portable;

use candle_core::{Result, Tensor};

use crate::kernel::attention::{Order, Sight};
use crate::kernel::{self, Drops};
use crate::nn::dropout::Dropout;
use crate::nn::ops::shape::merge_heads;
use crate::nn::record::{self, Work};
use heads::apart;
use kept::Attention;
use op::Nothing;

const NAME: &str = "scaled_dot_product_attention";

/// Which keys a query sees in [`scaled_dot_product_attention`].
///
/// An additive mask is a tensor of the queries' dtype, `[.., keys]` with up to three leading
/// dimensions, each as large as that of the scores `[batch, heads, queries, keys]` or 1; `-inf`
/// hides a key. It gets no gradient.
#[derive(Clone, Copy, Debug, Default)]
pub enum AttentionMask<'a> {
    /// All keys.
    #[default]
    None,
    /// Keys up to the query's own position, where the last query is at the last key, as with a
    /// cache of keys and values: query `i` sees `i + 1 + keys - queries` keys. PyTorch's
    /// `is_causal` aligns the first of both, which is the same if there are as many queries as
    /// keys.
    Causal,
    /// All keys, with this tensor added to the scores.
    Additive(&'a Tensor),
    /// Keys up to the query's own position, with this tensor added to the scores.
    CausalAdditive(&'a Tensor),
}

impl<'a> AttentionMask<'a> {
    fn sight(self) -> Sight {
        match self {
            Self::None | Self::Additive(_) => Sight::All,
            Self::Causal | Self::CausalAdditive(_) => Sight::Causal,
        }
    }

    fn added(self) -> Option<&'a Tensor> {
        match self {
            Self::None | Self::Causal => None,
            Self::Additive(mask) | Self::CausalAdditive(mask) => Some(mask),
        }
    }
}

/// `softmax(scale * q kᵀ + mask) v`: queries `[batch, heads, queries, size]`, keys
/// `[batch, key heads, keys, size]`, values `[batch, key heads, keys, width]`, the result
/// `[batch, heads, queries, width]`.
///
/// The scale is `1 / sqrt(size)` unless given. The number of query heads is a multiple of the
/// number of key heads, each of which serves that many neighbouring query heads (grouped queries:
/// Ainslie et al., 2023). On the CPU the matrix of scores never exists as a whole, only a block of
/// 64 queries by 256 keys per thread: the softmax is updated from block to block, and the backward
/// recomputes the probabilities from two numbers per query (FlashAttention: Dao et al., 2022). So
/// memory is linear in the sequence length, and a causal call does half of the work. Halves are
/// computed in f32. Results and gradients are the same on any number of threads, of which a
/// backward uses at most `batch * key heads`. On CUDA scores exist for some heads at a time, or some queries of a head,
/// 64 MiB of them at most unless a row has more, and twice as many in the backward, which computes them again; on other
/// devices it is composed of candle's operations, with all scores.
///
/// A query that sees no key, because the mask is `-inf` throughout or there are no keys, gives
/// zeros and passes on no gradient, as in PyTorch; a plain softmax gives NaN. NaN is not hidden:
/// NaN in the values or keys may also reach a query from which the mask hides it.
///
/// ```
/// use candle_core::{DType, Device::Cpu, Tensor};
/// use freeze_core::nn::ops::{AttentionMask, scaled_dot_product_attention};
///
/// let q = Tensor::zeros((1, 2, 3, 4), DType::F32, &Cpu)?;
/// let v = Tensor::new(&[[3f32], [5.], [7.]], &Cpu)?.reshape((1, 1, 3, 1))?;
/// let k = q.narrow(1, 0, 1)?;
/// let y = scaled_dot_product_attention(&q, &k, &v, AttentionMask::Causal, None)?;
/// // Equal scores: means of the values up to each place, for both heads.
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3., 4., 5., 3., 4., 5.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// Shapes that do not fit, operands or a mask of different dtypes or on different devices, an element type
/// other than f32, f64, f16 and bf16, a scale that is not finite, or a tracked mask.
pub fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: AttentionMask<'_>,
    scale: Option<f64>,
) -> Result<Tensor> {
    attend([q, k, v], None, mask, scale, drawn_by(None))
}

/// As [`scaled_dot_product_attention`], of whose probabilities `dropout` drops some, as PyTorch's
/// `dropout_p` does, and scales the others by `1 / (1 - p)`.
///
/// No mask exists: the backward draws it again. The generator moves on by a word for each
/// probability, `batch * heads * queries * keys`, whatever the device and the number of threads.
///
/// ```
/// use candle_core::{DType, Device::Cpu, Tensor};
/// use freeze_core::nn::{Dropout, ops};
///
/// let q = Tensor::zeros((1, 1, 1, 4), DType::F32, &Cpu)?;
/// let (k, v) = (Tensor::zeros((1, 1, 6, 4), DType::F32, &Cpu)?, Tensor::ones((1, 1, 6, 1), DType::F32, &Cpu)?);
/// let dropout = Dropout::new(0.5, 1)?;
/// let y = ops::scaled_dot_product_attention_dropout(&q, &k, &v, Default::default(), None, &dropout)?;
/// // Each of six values counts 1/6, or twice as much, or nothing.
/// let kept = (y.flatten_all()?.to_vec1::<f32>()?[0] * 3.0).round();
/// assert!((0.0..=6.0).contains(&kept) && dropout.state().position == 6);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// As [`scaled_dot_product_attention`].
pub fn scaled_dot_product_attention_dropout(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: AttentionMask<'_>,
    scale: Option<f64>,
    dropout: &Dropout,
) -> Result<Tensor> {
    attend([q, k, v], None, mask, scale, drawn_by(Some(dropout)))
}

/// As [`scaled_dot_product_attention`], of heads that lie side by side, as linear layers give them: queries
/// `[batch, queries, heads * size]`, keys and values `[batch, keys, key heads * size]`, the result
/// `[batch, queries, heads * width]`. On the CPU nothing is copied, forward or backward; nor on CUDA where the sizes of
/// heads are multiples of 16 bytes.
///
/// `heads` are those of queries and of keys. Each operand may also have its heads apart, `[batch, heads, length,
/// size]`, as [`split_heads_rope`](super::split_heads_rope) gives them. `dropout` drops probabilities.
///
/// ```
/// use candle_core::{DType, Device::Cpu, Tensor};
/// use freeze_core::nn::ops::{AttentionMask, attention_side_by_side};
///
/// let q = Tensor::zeros((1, 3, 2 * 4), DType::F32, &Cpu)?;
/// let (k, v) = (q.narrow(2, 0, 4)?, Tensor::new(&[[3f32], [5.], [7.]], &Cpu)?.unsqueeze(0)?);
/// let y = attention_side_by_side([&q, &k, &v], [2, 1], AttentionMask::Causal, None, None)?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[3., 3.], [4., 4.], [5., 5.]]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// As [`scaled_dot_product_attention`], or operands of other numbers of heads.
pub fn attention_side_by_side(
    operands: [&Tensor; 3],
    heads: [usize; 2],
    mask: AttentionMask<'_>,
    scale: Option<f64>,
    dropout: Option<&Dropout>,
) -> Result<Tensor> {
    attend(operands, Some(heads), mask, scale, drawn_by(dropout))
}

/// What draws as many words as there are probabilities, if any are to be dropped.
fn drawn_by(dropout: Option<&Dropout>) -> impl FnOnce(usize) -> Option<Drops> {
    move |words| dropout.filter(|dropout| dropout.drops()).map(|dropout| dropout.draw(words))
}

/// The result, side by side if so many heads are given.
fn attend(
    operands: [&Tensor; 3],
    heads: Option<[usize; 2]>,
    mask: AttentionMask<'_>,
    scale: Option<f64>,
    draw: impl FnOnce(usize) -> Option<Drops>,
) -> Result<Tensor> {
    let [q, ..] = operands;
    let sizes = check::sizes(operands, heads)?;
    let bias = mask.added().map(|mask| check::bias(mask, q, &sizes)).transpose()?;
    let scale = check::scale(scale, &sizes)?;
    let order = if heads.is_some() { Order::SideBySide } else { Order::Apart };
    if sizes.keys == 0 || sizes.result().contains(&0) || sizes.batch == 0 {
        let nothing = Nothing { sizes, order };
        return record::apply(operands, Work::Inputs(Default::default()), nothing);
    }
    let drops = draw(sizes.scores());
    let op = |order| Attention::new((sizes, order), scale, (mask.sight(), bias), drops);
    // Products with a vector add up in another order on the CPU where its elements lie apart.
    if q.device().is_cpu() && sizes.inner > 1 && sizes.width > 1 {
        let op = op(order);
        return record::apply_to_views(operands, Work::Inputs(op.flops()), op);
    }
    #[cfg(feature = "cuda")]
    if q.device().is_cuda() {
        return card::attend(operands, order, &sizes, op);
    }
    let op = op(Order::Apart);
    let [q, k, v] = apart(operands, &sizes)?;
    let y = match kernel::on(q.device()) {
        true => record::apply([&q, &k, &v], Work::Inputs(op.flops()), op),
        false => portable::compose(&q, &k, &v, &op),
    }?;
    if heads.is_some() { merge_heads(&y) } else { Ok(y) }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::nn::record::{Detail, Flops, Part, record};

    #[test]
    fn a_calibration_takes_all_operands_for_inputs() -> Result<()> {
        let zeros = |shape| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let (q, k, v) = (zeros((2, 4, 3, 5))?, zeros((2, 2, 6, 5))?, zeros((2, 2, 6, 7))?);
        let k = Var::from_tensor(&k)?;
        for part in [Part::Whole, Part::Input, Part::Weight] {
            let (result, calls) = record(Detail::Costs(part), || {
                let y = scaled_dot_product_attention(&q, &k, &v, AttentionMask::None, None)?;
                y.sum_all()?.backward()
            });
            result?;
            let [call] = &calls[..] else { panic!("{} calls", calls.len()) };
            assert!(call.operands.len() == 3 && call.input_tracked && !call.weight_tracked);
            let products = 2 * (2 * 4 * 3 * 6) * (5 + 7);
            let flops = Flops { forward: products, input: products / 2 * 5, weight: 0 };
            assert_eq!(call.flops, flops);
            // Operands and result, the result alone.
            let output = 4 * 2 * 4 * 3 * 7;
            let moved = output + 4 * 2 * (4 * 3 * 5 + 2 * 6 * (5 + 7));
            assert_eq!((call.moved, call.output), (moved, output));
            assert!(call.backward.input.is_none() && call.backward.weight.is_none());
        }
        Ok(())
    }
}
