//! Numbers that travel.

use candle_core::{Device, Result as Candle, Tensor};
use half::bf16;

use crate::error::Result;
use crate::kernel::Real;
use crate::kernel::slices::with;
use crate::parallel::{Group, Numbers};

/// Gradients of several variables, one after the other.
#[derive(Debug)]
pub(super) enum Flat {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Flat {
    /// Zeros, in `f64` if they are `wide`.
    pub(super) fn zeros(wide: bool, len: usize) -> Self {
        if wide { Self::F64(vec![0.0; len]) } else { Self::F32(vec![0.0; len]) }
    }

    /// Writes a gradient times `share` to the numbers from `at` on.
    pub(super) fn put(&mut self, at: usize, gradient: &Tensor, share: f64) -> Candle<()> {
        let gradient = gradient.to_device(&Device::Cpu)?;
        match self {
            Self::F32(numbers) => with(&gradient, |from| scaled(&mut numbers[at..], from, share)),
            Self::F64(numbers) => with(&gradient, |from| scaled(&mut numbers[at..], from, share)),
        }
    }

    /// Appends flags.
    pub(super) fn append(&mut self, flags: &[bool]) {
        match self {
            Self::F32(numbers) => {
                numbers.extend(flags.iter().map(|&flag| f32::from(u8::from(flag))))
            }
            Self::F64(numbers) => {
                numbers.extend(flags.iter().map(|&flag| f64::from(u8::from(flag))))
            }
        }
    }

    /// Takes off what was appended: for each flag whether it is set on any rank.
    pub(super) fn split_off(&mut self, len: usize) -> Vec<bool> {
        match self {
            Self::F32(numbers) => numbers.split_off(len).iter().map(|&ranks| ranks > 0.0).collect(),
            Self::F64(numbers) => numbers.split_off(len).iter().map(|&ranks| ranks > 0.0).collect(),
        }
    }

    /// Replaces the numbers by their sums over the ranks; `halves`: sent in bf16.
    pub(super) fn add_up(&mut self, group: &Group, halves: bool) -> Result<()> {
        match self {
            Self::F64(numbers) => group.sum("gradients", Numbers::F64(numbers)),
            Self::F32(numbers) if !halves => group.sum("gradients", Numbers::F32(numbers)),
            Self::F32(numbers) => {
                let mut sent: Vec<bf16> =
                    numbers.iter().map(|&number| bf16::from_f32(number)).collect();
                group.sum("gradients in bf16", Numbers::Bf16(&mut sent))?;
                numbers.iter_mut().zip(sent).for_each(|(number, sum)| *number = sum.to_f32());
                Ok(())
            }
        }
    }

    /// The numbers as a tensor, without a copy.
    pub(super) fn into_tensor(self) -> Candle<Tensor> {
        match self {
            Self::F32(numbers) => vector(numbers),
            Self::F64(numbers) => vector(numbers),
        }
    }
}

fn scaled<T: Real>(to: &mut [T], from: &[T], share: f64) -> Candle<()> {
    let share = T::from_f64(share);
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from * share);
    Ok(())
}

fn vector<T: candle_core::WithDType>(numbers: Vec<T>) -> Candle<Tensor> {
    let len = numbers.len();
    Tensor::from_vec(numbers, len, &Device::Cpu)
}
