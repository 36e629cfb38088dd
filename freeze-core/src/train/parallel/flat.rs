//! Numbers that travel.

use candle_core::{DType, Device, Result as Candle, Tensor};
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
    /// On a card, whose ranks add up there.
    Card(Tensor),
}

impl Flat {
    /// Zeros, in `f64` if they are `wide`, and room for `flags` behind them: without it all of them would be copied.
    pub(super) fn zeros(wide: bool, len: usize, flags: usize) -> Self {
        fn with_room<T: Clone>(zero: T, len: usize, flags: usize) -> Vec<T> {
            let mut zeros = vec![zero; len + flags];
            zeros.truncate(len);
            zeros
        }
        match wide {
            true => Self::F64(with_room(0.0, len, flags)),
            false => Self::F32(with_room(0.0, len, flags)),
        }
    }

    /// As [`zeros`](Self::zeros), where they stay on a card.
    pub(super) fn zeros_on(card: &Device, wide: bool, len: usize) -> Candle<Self> {
        let dtype = if wide { DType::F64 } else { DType::F32 };
        Tensor::zeros(len, dtype, card).map(Self::Card)
    }

    /// Writes a gradient times `share` to the numbers from `at` on.
    pub(super) fn put(&mut self, at: usize, gradient: &Tensor, share: f64) -> Candle<()> {
        let on_host = || gradient.to_device(&Device::Cpu);
        match self {
            Self::F32(numbers) => with(&on_host()?, |from| scaled(&mut numbers[at..], from, share)),
            Self::F64(numbers) => with(&on_host()?, |from| scaled(&mut numbers[at..], from, share)),
            Self::Card(numbers) => {
                let gradient = gradient.detach().flatten_all()?.to_dtype(numbers.dtype())?;
                numbers.slice_set(&gradient.affine(share, 0.0)?, 0, at)
            }
        }
    }

    /// Appends flags.
    pub(super) fn append(&mut self, flags: &[bool]) -> Candle<()> {
        let flags = flags.iter().map(|&flag| f32::from(u8::from(flag)));
        match self {
            Self::F32(numbers) => numbers.extend(flags),
            Self::F64(numbers) => numbers.extend(flags.map(f64::from)),
            Self::Card(numbers) => {
                let flags = vector(flags.collect())?.to_dtype(numbers.dtype())?;
                *numbers = Tensor::cat(&[&*numbers, &flags.to_device(numbers.device())?], 0)?;
            }
        }
        Ok(())
    }

    /// Takes off what was appended: for each flag whether it is set on any rank.
    pub(super) fn split_off(&mut self, len: usize) -> Candle<Vec<bool>> {
        Ok(match self {
            Self::F32(numbers) => numbers.split_off(len).iter().map(|&ranks| ranks > 0.0).collect(),
            Self::F64(numbers) => numbers.split_off(len).iter().map(|&ranks| ranks > 0.0).collect(),
            Self::Card(numbers) => {
                let flags = numbers.narrow(0, len, numbers.elem_count() - len)?;
                *numbers = numbers.narrow(0, 0, len)?;
                let flags = flags.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
                flags.to_vec1::<f64>()?.iter().map(|&ranks| ranks > 0.0).collect()
            }
        })
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
            // Another call than that of ranks whose gradients are on the host, which would wait for ever.
            Self::Card(numbers) => group.sum("gradients on cards", Numbers::Tensor(numbers)),
        }
    }

    /// The numbers as a tensor, without a copy.
    pub(super) fn into_tensor(self) -> Candle<Tensor> {
        match self {
            Self::F32(numbers) => vector(numbers),
            Self::F64(numbers) => vector(numbers),
            Self::Card(numbers) => Ok(numbers),
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
