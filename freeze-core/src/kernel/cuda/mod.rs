//! Kernels for CUDA, which NVRTC compiles for the card when the first of a file is used.
//!
//! Each operation's part of it is in a file named as its kernels': `rows.rs` launches what `rows.cu` holds.

mod array;
pub(crate) mod attention;
pub(crate) mod cross_entropy;
#[cfg(feature = "cudnn")]
pub(crate) mod cudnn;
pub(crate) mod digest;
pub(crate) mod dropout;
pub(crate) mod elements;
pub(crate) mod heads;
mod launch;
pub(crate) mod linear;
pub(crate) mod lookup;
pub(crate) mod memory;
pub(crate) mod order;
pub(crate) mod pairs;
pub(crate) mod planes;
pub(crate) mod products;
pub(crate) mod rows;
pub(crate) mod softmax;
mod source;
mod staging;
pub(crate) mod sums;
mod table;
pub(crate) mod windows;

pub(crate) use array::{
    Array, empty, from_first, of_card, on_card, operand, placed, takes, tensor,
};
pub(crate) use launch::{Arg, Grid, launch};
pub(crate) use source::File;
pub(crate) use staging::{Part, Staging};
pub(crate) use table::{Row, Table, upload};
