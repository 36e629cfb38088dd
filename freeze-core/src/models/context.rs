//! What every stage of a model sees of a batch beside what flows through it.

use candle_core::{DType, Result, Tensor, bail};

use crate::cache::{CacheContext, Seen};

/// Of a batch of texts: which tokens are padding, which segment each belongs to, and whether dropout is on.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use freeze_core::models::TextContext;
///
/// // Two texts of three and of two tokens.
/// let mask = Tensor::new(&[[1u32, 1, 1], [1, 1, 0]], &Cpu)?;
/// let context = TextContext::padded(&mask)?.train(true);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TextContext {
    mask: Option<Tensor>,
    segments: Option<Tensor>,
    train: bool,
}

impl TextContext {
    /// Texts without padding, all of one segment, for evaluation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Texts of different lengths: `mask` is `[batch, length]`, 1 for a token and 0 for padding, as tokenizers
    /// return it.
    ///
    /// # Errors
    ///
    /// Another number of dimensions.
    pub fn padded(mask: &Tensor) -> Result<Self> {
        if mask.rank() != 2 {
            bail!("attention mask: its shape is {:?}, expected [batch, length]", mask.shape());
        }
        Ok(Self { mask: Some(mask.to_dtype(DType::F32)?), ..Self::default() })
    }

    /// The segment of each token, integers `[batch, length]`: BERT's `token_type_ids`.
    pub fn token_types(self, types: Tensor) -> Self {
        Self { segments: Some(types), ..self }
    }

    /// Whether dropout is on.
    pub fn train(self, train: bool) -> Self {
        Self { train, ..self }
    }

    /// Whether dropout is on.
    pub fn is_train(&self) -> bool {
        self.train
    }

    /// 1 for tokens and 0 for padding, `[batch, length]` in f32; `None` without padding.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }

    /// The segment of each token.
    pub(super) fn segments(&self) -> Option<&Tensor> {
        self.segments.as_ref()
    }

    /// What hides the padding of `xs`, `[batch, length, size]`, when it is added to scores: `-inf` and 0,
    /// `[batch, 1, 1, length]` in the type of `xs`.
    pub(super) fn additive(&self, xs: &Tensor) -> Result<Option<Tensor>> {
        let Some(mask) = &self.mask else { return Ok(None) };
        let (batch, length, _) = xs.dims3()?;
        if mask.dims() != [batch, length] {
            let found = mask.shape();
            bail!("attention mask: its shape is {found:?}, of tokens [{batch}, {length}]");
        }
        // ln 1 = 0, ln 0 = -inf.
        let hidden = mask.log()?.to_dtype(xs.dtype())?.reshape((batch, 1, 1, length))?;
        Ok(Some(hidden))
    }
}

/// Whether dropout is on does not tell records apart: a record made without it is read with it on. So use one
/// mode in all forwards through a cache, or [`BatchNormPolicy::Inference`](crate::BatchNormPolicy::Inference) and
/// no dropout in the frozen front.
impl CacheContext for TextContext {
    fn select(&self, rows: &[u32], batch: usize) -> crate::error::Result<Self> {
        let mask = self.mask.select(rows, batch)?;
        Ok(Self { mask, segments: self.segments.select(rows, batch)?, train: self.train })
    }

    fn see(&self, seen: &mut Seen) -> crate::error::Result<()> {
        self.mask.see(seen)?;
        self.segments.see(seen)
    }
}

/// Of a batch of images: whether dropout is on and batch norms look at the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageContext {
    /// Training, not evaluation.
    pub train: bool,
}

/// Whether the run trains does not tell records apart: use one mode in all forwards through a cache, or
/// [`BatchNormPolicy::Inference`](crate::BatchNormPolicy::Inference) and no dropout in the frozen front.
impl CacheContext for ImageContext {
    fn select(&self, _: &[u32], _: usize) -> crate::error::Result<Self> {
        Ok(*self)
    }

    fn see(&self, _: &mut Seen) -> crate::error::Result<()> {
        Ok(())
    }
}
