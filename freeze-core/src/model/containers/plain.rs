//! Types without parameters: settings, sizes, names.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsString;
use std::marker::PhantomData;
use std::num::NonZero;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use candle_core::{DType, Device, DeviceLocation, Shape};
use candle_nn::rnn::{GRUConfig, LSTMConfig};
use candle_nn::{
    Activation, BatchNormConfig, Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig,
    ConvTranspose2dConfig, Dropout, Init, LayerNormConfig, ops::Identity,
};
use half::{bf16, f16};

use crate::error::Result;
use crate::model::{BatchNormPolicy, Freezable, LeafTree, Mapper};

macro_rules! plain {
    ($($type:ty),+ $(,)?) => {$(
        #[diagnostic::do_not_recommend]
        impl Freezable for $type {
            const LEAVES: LeafTree = LeafTree::EMPTY;
            const HAS_LEAVES: bool = false;

            fn map_params(&self, _: &mut Mapper<'_>) -> Result<Self> {
                Ok(Clone::clone(self))
            }

            fn visit_params(&self, _: &mut Mapper<'_>) -> Result<()> {
                Ok(())
            }
        }
    )+};
}

macro_rules! number {
    ($($number:ty),+) => {$(
        plain!(
            $number,
            Range<$number>,
            RangeFrom<$number>,
            RangeTo<$number>,
            RangeInclusive<$number>,
            RangeToInclusive<$number>,
        );
    )+};
}

macro_rules! integer {
    ($($integer:ty),+) => {$(
        number!($integer);
        plain!(NonZero<$integer>);
    )+};
}

integer!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);
number!(f32, f64, f16, bf16, char);
plain!((), bool, String, &str, Arc<str>, Box<str>, Cow<'_, str>, OsString, PathBuf);
plain!(Duration, Instant, SystemTime, Ordering, RangeFull);
plain!(DType, Device, DeviceLocation, Shape);
plain!(Activation, Dropout, Identity, Init);
plain!(Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig);
plain!(BatchNormConfig, LayerNormConfig, LSTMConfig, GRUConfig, BatchNormPolicy);

#[diagnostic::do_not_recommend]
impl<T: ?Sized> Freezable for PhantomData<T> {
    const LEAVES: LeafTree = LeafTree::EMPTY;
    const HAS_LEAVES: bool = false;

    fn map_params(&self, _: &mut Mapper<'_>) -> Result<Self> {
        Ok(PhantomData)
    }
}
