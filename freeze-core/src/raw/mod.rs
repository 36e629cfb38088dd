//! The one module with `unsafe`: calls of code that takes raw pointers, each behind a comparison of all
//! lengths.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod product;

pub(crate) use product::Matrix;
