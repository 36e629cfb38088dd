//! Arithmetic on slices of elements: the lowest layer of the crate.
//!
//! It knows no layer and no optimizer, uses nothing else of the crate, and holds all of its
//! `unsafe`: calls that pass raw pointers, after a comparison of all lengths (launches on CUDA), memory without elements,
//! code for instructions that the processor was found to have (`width`), and work lent to other
//! threads (`lend`).

pub(crate) mod attention;
mod blocks;
mod bytes_of;
mod column_sums;
pub(crate) mod conv;
pub(crate) mod cross_entropy;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod digest;
mod dispatch;
mod drops;
mod element;
mod exp;
mod half_bits;
mod helpers;
mod lend;
pub(crate) mod lookup;
mod matrix;
mod no_elements;
pub(crate) mod norm;
mod numbers;
mod patience;
pub(crate) mod pieces;
mod product;
mod rectifier;
pub(crate) mod reduce;
pub(crate) mod rope;
pub(crate) mod slices;
pub(crate) mod softmax;
mod storage_id;
mod sums;
pub(crate) mod threads;
pub(crate) mod update;
pub(crate) mod width;
mod windows;

use candle_core::{DType, Device};

pub(crate) use blocks::{copy_rows, for_blocks, map_rows, rows_per_block, swap_rows};
pub(crate) use bytes_of::bytes_of;
pub(crate) use column_sums::{add_to_rows, column_sums};
pub(crate) use digest::row_digests;
pub(crate) use dispatch::{by_element, by_real};
pub(crate) use drops::Drops;
pub(crate) use element::{Element, Real, internal_dtype, real_dtype};
pub(crate) use matrix::{Matrix, MatrixMut};
pub(crate) use no_elements::no_elements;
pub(crate) use numbers::{Numbers, NumbersMut};
pub(crate) use pieces::{map, map_stored, sum, zip_map, zip3_map};
pub(crate) use product::{Threads, gradient_times_input};
pub(crate) use rectifier::{passed, rectified};
pub(crate) use storage_id::{ElementsId, StorageId, reading};
pub(crate) use sums::{sum1, sum2, sum3};
pub(crate) use width::{half_wide, wide};
pub(crate) use windows::Windows;

/// Whether there are kernels for a device.
pub(crate) fn on(device: &Device) -> bool {
    device.is_cpu() || (cfg!(feature = "cuda") && device.is_cuda())
}

/// Whether the kernels of CUDA cards know elements of this type, which candle copies and chooses there, too.
pub(crate) fn on_cards(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, F64, I64, U8, U32};
    matches!(dtype, U8 | U32 | I64 | BF16 | F16 | F32 | F64)
}
