//! How a model's context relates to the samples of a batch.

use std::ops::Deref;

use candle_core::Tensor;

use super::seen::Seen;
use crate::error::{Error, Result};

/// A [`Context`](crate::Staged::Context) that an [`ActivationCache`](super::ActivationCache) can handle.
/// Where some samples of a batch have a record and others have none, only the others run, so their part
/// of the context must be selected; and the context is part of what a record depends on.
///
/// The first dimension of a `Tensor` is the batch, or 1 if all samples share it. A tensor that all share
/// and that has another first dimension, such as a causal mask, must be wrapped in [`Shared`]: it would be
/// taken for one row per sample where its first dimension happens to be the batch size. Numbers, `bool`
/// and text are shared; `Option`, `Vec`, arrays and tuples are handled item by item. For a struct, call
/// the same methods on its fields:
///
/// ```
/// use candle_core::Tensor;
/// use freeze_core::Result;
/// use freeze_core::cache::{CacheContext, Seen, Shared};
///
/// #[derive(Clone)]
/// struct Context {
///     padding: Tensor,      // (batch, length)
///     causal: Shared,       // (length, length)
///     scale: f64,
/// }
///
/// impl CacheContext for Context {
///     fn select(&self, rows: &[u32], batch: usize) -> Result<Self> {
///         let padding = self.padding.select(rows, batch)?;
///         Ok(Self { padding, causal: self.causal.clone(), scale: self.scale })
///     }
///
///     fn see(&self, seen: &mut Seen) -> Result<()> {
///         self.padding.see(seen)?;
///         self.causal.see(seen)?;
///         self.scale.see(seen)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the activation cache cannot select samples of the context `{Self}`",
    label = "no `CacheContext`",
    note = "write `impl CacheContext for {Self}` that calls `select` and `see` of each field; see its documentation"
)]
pub trait CacheContext: ToOwned {
    /// The context of the samples at `rows` of a batch of `batch` samples.
    ///
    /// # Errors
    ///
    /// The first dimension of a tensor is neither the batch nor 1.
    fn select(&self, rows: &[u32], batch: usize) -> Result<Self::Owned>;

    /// Adds everything in the context to the samples' fingerprints.
    ///
    /// # Errors
    ///
    /// As [`select`](Self::select).
    fn see(&self, seen: &mut Seen) -> Result<()>;
}

/// A tensor that all samples of a batch share, whatever its first dimension.
#[derive(Clone, Debug)]
pub struct Shared(pub Tensor);

impl Deref for Shared {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

impl CacheContext for Shared {
    fn select(&self, _: &[u32], _: usize) -> Result<Self> {
        Ok(self.clone())
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        seen.shared(&self.0)
    }
}

impl CacheContext for Tensor {
    fn select(&self, rows: &[u32], batch: usize) -> Result<Self> {
        match goes_with_samples(self, batch)? {
            true => {
                let rows = Tensor::new(rows, self.device())?;
                Ok(self.contiguous()?.index_select(&rows, 0)?)
            }
            false => Ok(self.clone()),
        }
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        goes_with_samples(self, seen.batch())?;
        seen.samples(self)
    }
}

fn goes_with_samples(tensor: &Tensor, batch: usize) -> Result<bool> {
    match tensor.dims() {
        [first, ..] if *first == batch => Ok(true),
        [1, ..] => Ok(false),
        dims => Err(Error::cache(format!(
            "a tensor of the context has shape {dims:?} in a batch of {batch}: its first dimension is to \
             be the batch, or 1; wrap in `cache::Shared` what all samples share"
        ))),
    }
}

macro_rules! plain {
    ($($type:ty),+) => {$(
        impl CacheContext for $type {
            fn select(&self, _: &[u32], _: usize) -> Result<Self> {
                Ok(*self)
            }

            fn see(&self, seen: &mut Seen) -> Result<()> {
                seen.bytes(&self.to_le_bytes());
                Ok(())
            }
        }
    )+};
}

plain!(f32, f64, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

impl CacheContext for bool {
    fn select(&self, _: &[u32], _: usize) -> Result<Self> {
        Ok(*self)
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        u8::from(*self).see(seen)
    }
}

impl CacheContext for str {
    fn select(&self, _: &[u32], _: usize) -> Result<String> {
        Ok(self.to_string())
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        self.len().see(seen)?;
        seen.bytes(self.as_bytes());
        Ok(())
    }
}

impl CacheContext for String {
    fn select(&self, _: &[u32], _: usize) -> Result<Self> {
        Ok(self.clone())
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        self.as_str().see(seen)
    }
}

impl<C: CacheContext<Owned = C> + Clone> CacheContext for [C] {
    fn select(&self, rows: &[u32], batch: usize) -> Result<Vec<C>> {
        self.iter().map(|item| item.select(rows, batch)).collect()
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        self.len().see(seen)?;
        self.iter().try_for_each(|item| item.see(seen))
    }
}

impl<C: CacheContext<Owned = C> + Clone> CacheContext for Vec<C> {
    fn select(&self, rows: &[u32], batch: usize) -> Result<Self> {
        self.as_slice().select(rows, batch)
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        self.as_slice().see(seen)
    }
}

impl<C: CacheContext<Owned = C> + Clone, const N: usize> CacheContext for [C; N] {
    fn select(&self, rows: &[u32], batch: usize) -> Result<Self> {
        let selected = self.as_slice().select(rows, batch)?;
        selected.try_into().map_err(|_| Error::cache("an array changed its length"))
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        self.as_slice().see(seen)
    }
}

impl<C: CacheContext<Owned = C> + Clone> CacheContext for Option<C> {
    fn select(&self, rows: &[u32], batch: usize) -> Result<Self> {
        self.as_ref().map(|inside| inside.select(rows, batch)).transpose()
    }

    fn see(&self, seen: &mut Seen) -> Result<()> {
        self.as_slice().see(seen)
    }
}

impl CacheContext for () {
    fn select(&self, _: &[u32], _: usize) -> Result<()> {
        Ok(())
    }

    fn see(&self, _: &mut Seen) -> Result<()> {
        Ok(())
    }
}

macro_rules! tuple {
    ($($type:ident $index:tt),+) => {
        #[diagnostic::do_not_recommend]
        impl<$($type: CacheContext<Owned = $type> + Clone),+> CacheContext for ($($type,)+) {
            fn select(&self, rows: &[u32], batch: usize) -> Result<Self> {
                Ok(($(self.$index.select(rows, batch)?,)+))
            }

            fn see(&self, seen: &mut Seen) -> Result<()> {
                $(self.$index.see(seen)?;)+
                Ok(())
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
