//! The types that tensors are stored in, and those that arithmetic runs in.

use candle_core::op::UnaryOpT;
use candle_core::{CpuStorage, DType, Result, WithDType, bail};
use half::{bf16, f16, slice::HalfFloatSliceExt, vec::HalfFloatVecExt};

use super::exp::{exp_f32, tanh_f32};
use super::half_bits::{f16_to_f32, f32_to_f16};
use super::numbers::{Numbers, NumbersMut};
use super::wide;

/// A type that elements are stored in.
pub trait Element: WithDType {
    /// The type that its arithmetic runs in.
    type Real: Real;

    /// Converts to the type of arithmetic.
    fn up(self) -> Self::Real;

    /// Rounds to the nearest element.
    fn down(real: Self::Real) -> Self;

    /// Applies a unary operation of candle's.
    fn of<F: UnaryOpT>(self) -> Self;

    /// The elements in the type of arithmetic, if no conversion is needed.
    fn exact(elements: &[Self]) -> Option<&[Self::Real]>;

    /// As [`exact`](Self::exact), mutable.
    fn exact_mut(elements: &mut [Self]) -> Option<&mut [Self::Real]>;

    /// The elements as numbers of the type of arithmetic.
    fn numbers(elements: &[Self]) -> Numbers<'_, Self::Real>;

    /// As [`numbers`](Self::numbers), to write.
    fn numbers_mut(elements: &mut [Self]) -> NumbersMut<'_, Self::Real>;

    /// Converts into a slice of the same length.
    fn load(elements: &[Self], into: &mut [Self::Real]);

    /// As [`load`](Self::load), but takes the number in `master` where it rounds to the element.
    fn recall(elements: &[Self], master: &[Self::Real], into: &mut [Self::Real]);

    /// Converts from a slice of the same length, rounding to nearest.
    fn store(elements: &mut [Self], from: &[Self::Real]);

    /// Whether no element is infinite or NaN.
    fn all_finite(elements: &[Self]) -> bool;

    /// The storage's elements, mutable.
    ///
    /// # Errors
    ///
    /// The storage holds another type.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

/// A type that arithmetic runs in: `f64` for itself, `f32` for itself and for the halves.
pub trait Real: Element<Real = Self> + faer::traits::RealField + Default {
    const ZERO: Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// The absolute value.
    fn abs(self) -> Self;

    /// `e^x` for `x` of at most 0.
    fn exp_of_negative(self) -> Self;

    /// The hyperbolic tangent.
    fn tanh(self) -> Self;

    /// A storage of `dtype`, which is this type or a half whose arithmetic runs in it.
    fn write(numbers: Vec<Self>, dtype: DType) -> CpuStorage;
}

/// The type that arithmetic on elements of a type runs in; `None` for a type that has none here.
pub(crate) fn real_dtype(dtype: DType) -> Option<DType> {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => Some(DType::F32),
        DType::F64 => Some(DType::F64),
        _ => None,
    }
}

/// The type that a composition of tensor operations computes in.
pub(crate) fn internal_dtype(dtype: DType) -> DType {
    real_dtype(dtype).unwrap_or(dtype)
}

macro_rules! common {
    ($ty:ident, $storage:ident, $bits:ty, $exponent:expr) => {
        #[inline(always)]
        fn of<F: UnaryOpT>(self) -> Self {
            F::$ty(self)
        }

        // No early exit within a block, so that the loop stays a few vector instructions.
        #[inline(always)]
        fn all_finite(elements: &[Self]) -> bool {
            for block in elements.chunks(4096) {
                let mut odd: $bits = 0;
                for x in block {
                    odd |= <$bits>::from(x.to_bits() & $exponent == $exponent);
                }
                if odd != 0 {
                    return false;
                }
            }
            true
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
    ($ty:ident, $storage:ident, $bits:ty, $exponent:expr, $exp:path, $tanh:path, $write:item) => {
        impl Real for $ty {
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }

            #[inline(always)]
            fn abs(self) -> Self {
                self.abs()
            }

            #[inline(always)]
            fn exp_of_negative(self) -> Self {
                $exp(self)
            }

            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }

            $write
        }

        impl Element for $ty {
            type Real = Self;

            #[inline(always)]
            fn up(self) -> Self {
                self
            }

            #[inline(always)]
            fn down(real: Self) -> Self {
                real
            }

            fn exact(elements: &[Self]) -> Option<&[Self]> {
                Some(elements)
            }

            fn exact_mut(elements: &mut [Self]) -> Option<&mut [Self]> {
                Some(elements)
            }

            fn numbers(elements: &[Self]) -> Numbers<'_, Self> {
                Numbers::Here(elements)
            }

            fn numbers_mut(elements: &mut [Self]) -> NumbersMut<'_, Self> {
                NumbersMut::Here(elements)
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

            common!($ty, $storage, $bits, $exponent);
        }
    };
}

macro_rules! half {
    ($ty:ident, $storage:ident, $exponent:expr, $up:expr, $down:expr) => {
        impl Element for $ty {
            type Real = f32;

            #[inline(always)]
            fn up(self) -> f32 {
                $up(self)
            }

            #[inline(always)]
            fn down(real: f32) -> Self {
                $down(real)
            }

            fn exact(_: &[Self]) -> Option<&[f32]> {
                None
            }

            fn exact_mut(_: &mut [Self]) -> Option<&mut [f32]> {
                None
            }

            fn numbers(elements: &[Self]) -> Numbers<'_, f32> {
                fn load(bits: &[u16], into: &mut [f32]) {
                    wide(
                        #[inline(always)]
                        || {
                            for (into, bits) in into.iter_mut().zip(bits) {
                                *into = $ty::from_bits(*bits).up();
                            }
                        },
                    );
                }
                Numbers::Halves(elements.reinterpret_cast(), load)
            }

            fn numbers_mut(elements: &mut [Self]) -> NumbersMut<'_, f32> {
                fn store(bits: &mut [u16], from: &[f32]) {
                    wide(
                        #[inline(always)]
                        || {
                            for (bits, from) in bits.iter_mut().zip(from) {
                                *bits = $ty::down(*from).to_bits();
                            }
                        },
                    );
                }
                NumbersMut::Halves(elements.reinterpret_cast_mut(), store)
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

            common!($ty, $storage, u16, $exponent);
        }
    };
}

real!(
    f32,
    F32,
    u32,
    0x7f80_0000,
    exp_f32,
    tanh_f32,
    fn write(numbers: Vec<Self>, dtype: DType) -> CpuStorage {
        match dtype {
            DType::F16 => CpuStorage::F16(Vec::from_f32_slice(&numbers)),
            DType::BF16 => CpuStorage::BF16(Vec::from_f32_slice(&numbers)),
            _ => CpuStorage::F32(numbers),
        }
    }
);
real!(
    f64,
    F64,
    u64,
    0x7ff0_0000_0000_0000,
    f64::exp,
    f64::tanh,
    fn write(numbers: Vec<Self>, _: DType) -> CpuStorage {
        CpuStorage::F64(numbers)
    }
);
half!(f16, F16, 0x7c00, |x: Self| f16_to_f32(x.to_bits()), |real| Self::from_bits(f32_to_f16(
    real
)));
half!(bf16, BF16, 0x7f80, Self::to_f32, Self::from_f32);
