//! Gradients that are added up on the card, as on the CPU.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use freeze_core::Result;
use freeze_core::optim::GradAccumulator;

use crate::card;
use crate::support::{flat, random};

/// The means of batches of these weights, and of a batch without a gradient of the last variable.
fn means(dtype: DType, weights: &[f64], device: &Device) -> Result<Vec<Vec<f64>>> {
    let shapes: [&[usize]; 6] = [&[], &[1], &[7], &[33, 65], &[4, 8, 100], &[0]];
    let vars = shapes.map(|shape| Var::zeros(shape, dtype, device)).into_iter();
    let vars: Vec<Var> = vars.collect::<candle_core::Result<_>>()?;
    let mut sums = GradAccumulator::new(vars.clone());
    for (batch, weight) in weights.iter().enumerate() {
        let mut grads = GradStore::default();
        for (i, var) in vars.iter().enumerate() {
            if batch == 1 && i + 2 == vars.len() {
                continue;
            }
            let from = random((100 * batch + i) as u64, var.elem_count(), dtype);
            let mut grad = from.to_device(device)?.reshape(var.dims())?;
            if let [rows, columns] = *var.dims() {
                // Not contiguous.
                grad = grad.reshape((columns, rows))?.transpose(0, 1)?;
            }
            grads.insert(var, grad);
        }
        sums.accumulate_grads(grads, *weight)?;
    }
    let means = sums.take()?;
    Ok(vars.iter().map(|var| means.get(var).map_or(Vec::new(), flat)).collect())
}

#[test]
fn sums_of_batches_have_the_bits_of_the_cpu() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for weights in [&[1.0][..], &[1.0, 1.0, 1.0], &[0.3, 2.0, 0.7], &[4.0, 1.0, 8.0]] {
            let (found, expected) =
                (means(dtype, weights, &card)?, means(dtype, weights, &Device::Cpu)?);
            assert_eq!(found, expected, "{dtype:?}, {weights:?}");
            assert!(expected[3].iter().any(|mean| *mean != 0.0));
        }
    }
    Ok(())
}

/// A view of a part that begins at an odd place, which no load of 16 bytes can take.
#[test]
fn what_begins_at_an_odd_place_is_added_as_well() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let var = Var::zeros(1001, DType::F32, &card)?;
    let all = random(1, 1004, DType::F32);
    let mut sums = GradAccumulator::new(vec![var.clone()]);
    let mut expected = vec![0.0; 1001];
    for from in [3, 1] {
        let mut grads = GradStore::default();
        let part = |all: &Tensor| all.narrow(0, from, 1001);
        grads.insert(&var, part(&all.to_device(&card)?)?);
        sums.accumulate_grads(grads, 1.0)?;
        expected.iter_mut().zip(flat(&part(&all)?)).for_each(|(sum, add)| *sum += add / 2.0);
    }
    let means = sums.take()?;
    for (found, expected) in flat(means.get(&var).expect("a mean")).iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-7, "{found} for {expected}");
    }
    Ok(())
}
