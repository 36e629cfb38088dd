//! The methods of a `CustomOp` for each kind of device, from one function over candle's backend
//! trait.

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
