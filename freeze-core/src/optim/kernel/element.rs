//! The element types that the CPU kernels know.

use candle_core::{CpuStorage, Result, WithDType, bail};
use half::{bf16, f16, slice::HalfFloatSliceExt};

/// The type the arithmetic runs in: `f32` or `f64`.
pub trait Real: Element<Acc = Self> {
    /// The square root.
    fn sqrt(self) -> Self;
}

/// A type that parameters and gradients are stored in.
pub trait Element: WithDType {
    /// The type its arithmetic runs in and its moments are stored in.
    type Acc: Real;

    /// The elements as numbers to count with, if no conversion is needed.
    fn exact(elements: &[Self]) -> Option<&[Self::Acc]>;

    /// As [`exact`](Self::exact), to write to.
    fn exact_mut(elements: &mut [Self]) -> Option<&mut [Self::Acc]>;

    /// Converts into a slice of the same length.
    fn load(elements: &[Self], into: &mut [Self::Acc]);

    /// As [`load`](Self::load), except that a number of `master` stands for the element that it rounds
    /// to.
    fn recall(elements: &[Self], master: &[Self::Acc], into: &mut [Self::Acc]);

    /// Converts from a slice of the same length, rounding to nearest.
    fn store(elements: &mut [Self], from: &[Self::Acc]);

    /// Whether no exponent says infinite or NaN.
    fn all_finite(elements: &[Self]) -> bool;

    /// The storage's elements, to write to.
    ///
    /// # Errors
    ///
    /// The storage holds another type.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

macro_rules! common {
    ($storage:ident, $bits:ty, $exponent:expr) => {
        // No early way out within a block: the loop stays a few vector instructions.
        fn all_finite(elements: &[Self]) -> bool {
            elements.chunks(4096).all(|block| {
                let odd = |odd: $bits, x: &Self| {
                    odd | <$bits>::from(x.to_bits() & $exponent == $exponent)
                };
                block.iter().fold(0, odd) == 0
            })
        }

        fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
            match storage {
                CpuStorage::$storage(elements) => Ok(elements),
                _ => bail!("expected a storage of {}", stringify!($storage)),
            }
        }
    };
}

macro_rules! real {
    ($ty:ident, $storage:ident, $bits:ty, $exponent:expr) => {
        impl Real for $ty {
            fn sqrt(self) -> Self {
                self.sqrt()
            }
        }

        impl Element for $ty {
            type Acc = Self;

            fn exact(elements: &[Self]) -> Option<&[Self]> {
                Some(elements)
            }

            fn exact_mut(elements: &mut [Self]) -> Option<&mut [Self]> {
                Some(elements)
            }

            fn load(elements: &[Self], into: &mut [Self]) {
                into.copy_from_slice(elements);
            }

            fn recall(elements: &[Self], _: &[Self], into: &mut [Self]) {
                into.copy_from_slice(elements);
            }

            fn store(elements: &mut [Self], from: &[Self]) {
                elements.copy_from_slice(from);
            }

            common!($storage, $bits, $exponent);
        }
    };
}

macro_rules! half {
    ($ty:ident, $storage:ident, $exponent:expr) => {
        impl Element for $ty {
            type Acc = f32;

            fn exact(_: &[Self]) -> Option<&[f32]> {
                None
            }

            fn exact_mut(_: &mut [Self]) -> Option<&mut [f32]> {
                None
            }

            fn load(elements: &[Self], into: &mut [f32]) {
                elements.convert_to_f32_slice(into);
            }

            fn recall(elements: &[Self], master: &[f32], into: &mut [f32]) {
                const CHUNK: usize = 256;
                let mut rounded = [Self::ZERO; CHUNK];
                let chunks = elements.chunks(CHUNK).zip(master.chunks(CHUNK));
                for ((elements, master), into) in chunks.zip(into.chunks_mut(CHUNK)) {
                    let rounded = &mut rounded[..elements.len()];
                    rounded.convert_from_f32_slice(master);
                    elements.convert_to_f32_slice(into);
                    for ((x, rounded), (into, &master)) in
                        elements.iter().zip(rounded).zip(into.iter_mut().zip(master))
                    {
                        if x.to_bits() == rounded.to_bits() {
                            *into = master;
                        }
                    }
                }
            }

            fn store(elements: &mut [Self], from: &[f32]) {
                elements.convert_from_f32_slice(from);
            }

            common!($storage, u16, $exponent);
        }
    };
}

real!(f32, F32, u32, 0x7f80_0000);
real!(f64, F64, u64, 0x7ff0_0000_0000_0000);
half!(f16, F16, 0x7c00);
half!(bf16, BF16, 0x7f80);
