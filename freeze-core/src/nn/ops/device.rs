//! The methods of a `CustomOp` for each kind of device, from one function over candle's backend
//! trait.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{Result, Shape};

/// A storage whose device makes storages of the same kind.
pub(crate) trait Stored: BackendStorage<Device: BackendDevice<Storage = Self>> {}

impl<S: BackendStorage<Device: BackendDevice<Storage = S>>> Stored for S {}

/// A result of `shape` if that has no elements: CUDA cannot launch a kernel for none.
pub(crate) fn nothing<S: Stored>(like: &S, shape: &Shape) -> Result<Option<(S, Shape)>> {
    match shape.elem_count() {
        0 => Ok(Some((like.device().zeros_impl(shape, like.dtype())?, shape.clone()))),
        _ => Ok(None),
    }
}

/// `cuda_fwd` and `metal_fwd` of a [`candle_core::CustomOp1`].
macro_rules! accelerators1 {
    ($forward:path) => {
        fn cuda_fwd(
            &self,
            s: &candle_core::CudaStorage,
            l: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
            $forward(self, s, l)
        }

        fn metal_fwd(
            &self,
            s: &candle_core::MetalStorage,
            l: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::MetalStorage, candle_core::Shape)> {
            $forward(self, s, l)
        }
    };
}

/// `cuda_fwd` and `metal_fwd` of a [`candle_core::CustomOp2`].
macro_rules! accelerators2 {
    ($forward:path) => {
        fn cuda_fwd(
            &self,
            s1: &candle_core::CudaStorage,
            l1: &candle_core::Layout,
            s2: &candle_core::CudaStorage,
            l2: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
            $forward(self, (s1, l1), (s2, l2))
        }

        fn metal_fwd(
            &self,
            s1: &candle_core::MetalStorage,
            l1: &candle_core::Layout,
            s2: &candle_core::MetalStorage,
            l2: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::MetalStorage, candle_core::Shape)> {
            $forward(self, (s1, l1), (s2, l2))
        }
    };
}

/// `cuda_fwd` and `metal_fwd` of a [`candle_core::CustomOp3`].
macro_rules! accelerators3 {
    ($forward:path) => {
        fn cuda_fwd(
            &self,
            s1: &candle_core::CudaStorage,
            l1: &candle_core::Layout,
            s2: &candle_core::CudaStorage,
            l2: &candle_core::Layout,
            s3: &candle_core::CudaStorage,
            l3: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
            $forward(self, (s1, l1), (s2, l2), (s3, l3))
        }

        fn metal_fwd(
            &self,
            s1: &candle_core::MetalStorage,
            l1: &candle_core::Layout,
            s2: &candle_core::MetalStorage,
            l2: &candle_core::Layout,
            s3: &candle_core::MetalStorage,
            l3: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::MetalStorage, candle_core::Shape)> {
            $forward(self, (s1, l1), (s2, l2), (s3, l3))
        }
    };
}

pub(crate) use {accelerators1, accelerators2, accelerators3};
