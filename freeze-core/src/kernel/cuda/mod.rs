//! Kernels for CUDA, which NVRTC compiles for the card when the first of a file is used.
//!
//! Each operation's part of it is in a file named as its kernels': `rows.rs` launches what `rows.cu` holds.

mod array;
mod launch;
pub(crate) mod linear;
pub(crate) mod memory;
mod source;
mod table;

pub(crate) use array::{Array, empty, on_card, operand, tensor};
pub(crate) use launch::{Arg, Grid, launch};
pub(crate) use source::File;
pub(crate) use table::{Row, Table, upload};
