//! One vector for a text.

use candle_core::{Result, Tensor, bail};

use crate::kernel::internal_dtype;

/// What of a text's tokens goes to the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The first token, through the model's pooler: a linear layer and a hyperbolic tangent.
    #[default]
    Cls,
    /// The mean of all tokens but the padding: [`mean_pool`].
    Mean,
}

/// The mean over the tokens of each text of `xs`, `[batch, length, size]`, where `mask`, `[batch, length]`, is not
/// 0: `[batch, size]`. It is what sentence-transformers calls mean pooling. A text of padding alone gives
/// zeros. Halves are added up in f32.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use freeze_core::models::mean_pool;
///
/// let xs = Tensor::new(&[[[1f32, 2.], [3., 4.], [9., 9.]]], &Cpu)?;
/// let mask = Tensor::new(&[[1u32, 1, 0]], &Cpu)?;
/// assert_eq!(mean_pool(&xs, Some(&mask))?.to_vec2::<f32>()?, [[2., 3.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// Shapes that do not fit.
pub fn mean_pool(xs: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (batch, length, _) = xs.dims3()?;
    let wide = xs.to_dtype(internal_dtype(xs.dtype()))?;
    let mean = match mask {
        None => wide.mean(1)?,
        Some(mask) if mask.dims() == [batch, length] => {
            let counts = mask.ne(0f64)?.to_dtype(wide.dtype())?.unsqueeze(2)?;
            let total = counts.sum(1)?.maximum(1f64)?;
            wide.broadcast_mul(&counts)?.sum(1)?.broadcast_div(&total)?
        }
        Some(mask) => {
            bail!("mean_pool: the mask has shape {:?}, of tokens [{batch}, {length}]", mask.shape())
        }
    };
    mean.to_dtype(xs.dtype())
}
