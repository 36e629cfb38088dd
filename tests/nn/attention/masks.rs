//! Masks of all shapes, and rows that they hide altogether.

use candle_core::{DType, Device, Tensor};
use freeze_core::nn::ops::{AttentionMask, scaled_dot_product_attention as attention};

use super::{Sizes, causal, definition, operands};
use crate::support::{check, check_against, check_half, flat, gradients, random};

/// Numbers to add to scores, some `-inf`; never for the last key.
fn mask(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    let keys = shape[shape.len() - 1];
    let hide = |(i, x): (usize, f64)| match x > 0.5 && i % keys != keys - 1 {
        true => f64::NEG_INFINITY,
        false => x,
    };
    let values = flat(&random(seed, shape, DType::F64)).into_iter().enumerate().map(hide).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

#[test]
fn masks_of_all_shapes() {
    for sizes in [[2, 4, 2, 3, 5, 2, 3], [2, 4, 2, 70, 300, 5, 3]] as [Sizes; 2] {
        let [b, h, _, m, n, ..] = sizes;
        let operands = operands(1, sizes, DType::F64);
        let scale = (sizes[5] as f64).powf(-0.5);
        for shape in [
            &[n][..],
            &[1, n],
            &[m, n],
            &[h, 1, n],
            &[1, 1, m, n],
            &[b, 1, 1, n],
            &[b, 1, m, n],
            &[1, h, m, n],
            &[b, h, m, n],
        ] {
            let mask = mask(2, shape, DType::F64);
            check_against(
                &operands,
                1e-12,
                |t| attention(&t[0], &t[1], &t[2], AttentionMask::Additive(&mask), None),
                |t| definition(t, Some(&mask), scale),
            );
            let both = mask.broadcast_add(&causal(m, n)).unwrap();
            check_against(
                &operands,
                1e-12,
                // As a view that is not contiguous.
                |t| {
                    let mask = Tensor::cat(&[&mask, &mask], 0)?.narrow(0, 0, shape[0])?;
                    let mask = mask.broadcast_as((b, h, m, n))?;
                    attention(&t[0], &t[1], &t[2], AttentionMask::CausalAdditive(&mask), None)
                },
                // The last key, which no mask hides, is behind some places: those see nothing.
                |t| zeros_for_nan(&definition(t, Some(&both), scale)?, &both, t),
            );
        }
    }
}

/// The definition where rows see something, else zeros: `0 * NaN` is NaN, so rows are chosen.
fn zeros_for_nan(y: &Tensor, added: &Tensor, t: &[Tensor]) -> candle_core::Result<Tensor> {
    let (rows, width) = (t[0].dims()[..3].to_vec(), y.dim(3)?);
    let seen = added.max_keepdim(candle_core::D::Minus1)?.ge(-1e300)?;
    let seen = seen.broadcast_as([&rows[..], &[width]].concat())?.contiguous()?;
    seen.where_cond(y, &y.zeros_like()?)
}

#[test]
fn rows_that_see_nothing_are_zeros() {
    // Under `Causal` the first 80 of 100 queries see none of 20 keys, so a block is skipped altogether.
    let sizes = [1, 2, 1, 100, 20, 3, 2];
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let mut operands = operands(3, sizes, dtype);
        let (y, grads) = gradients(&operands, &[true; 3], |t| {
            attention(&t[0], &t[1], &t[2], AttentionMask::Causal, None)
        });
        let (y, dq) = (flat(&y), flat(grads[0].as_ref().unwrap()));
        for (place, values) in y.chunks(2).enumerate() {
            assert_eq!(values == [0.; 2], place % 100 < 80, "{place}");
        }
        for (place, slopes) in dq.chunks(3).enumerate() {
            // The first that sees one key has nothing to choose from.
            assert_eq!(slopes.iter().all(|x| *x == 0.), place % 100 < 81, "{place}");
        }
        assert!(grads.iter().flatten().all(|grad| flat(grad).iter().all(|x| x.is_finite())));

        // Nor does what stands in keys and values that nobody sees matter.
        let hide = Tensor::full(f64::NEG_INFINITY, (1, 1, 20), &Device::Cpu).unwrap();
        let hide = hide.to_dtype(dtype).unwrap();
        operands[2] = (operands[2].ones_like().unwrap() * f64::INFINITY).unwrap();
        let mask = AttentionMask::Additive(&hide);
        let y = attention(&operands[0], &operands[1], &operands[2], mask, None).unwrap();
        assert_eq!(flat(&y), vec![0.; 400]);
    }
}

#[test]
fn gradients_under_masks_by_finite_differences() {
    let operands = operands(4, [2, 2, 1, 3, 4, 2, 3], DType::F64);
    let mut values = flat(&mask(5, &[2, 1, 3, 4], DType::F64));
    values[..4].fill(f64::NEG_INFINITY);
    let mask = Tensor::from_vec(values, (2, 1, 3, 4), &Device::Cpu).unwrap();
    for mask in [AttentionMask::Additive(&mask), AttentionMask::CausalAdditive(&mask)] {
        check(&operands, |t| attention(&t[0], &t[1], &t[2], mask, None));
    }
}

#[test]
fn masks_of_halves() {
    for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        let operands = operands(6, [1, 2, 2, 5, 7, 4, 4], dtype);
        let mask = mask(7, &[5, 7], dtype);
        check_half(dtype, tolerance, &operands, |t| {
            let mask = mask.to_dtype(t[0].dtype())?;
            attention(&t[0], &t[1], &t[2], AttentionMask::Additive(&mask), None)
        });
    }
}
