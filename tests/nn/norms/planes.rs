//! The operations of batch norm and group norm.

use candle_core::{DType, Device, Result, Tensor};
use freeze_core::nn::ops;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Batch,
    Groups(usize),
    Running,
}

const KINDS: [Kind; 5] =
    [Kind::Batch, Kind::Groups(1), Kind::Groups(2), Kind::Groups(4), Kind::Running];

fn running() -> (Tensor, Tensor) {
    let mean = var(70, &[4], DType::F64).as_detached_tensor();
    (mean, var(71, &[4], DType::F64).sqr().unwrap().detach())
}

fn run(kind: Kind, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    match kind {
        Kind::Batch => Ok(ops::batch_norm(x, Some((w, b)), 1e-5)?.0),
        Kind::Groups(groups) => ops::group_norm(x, groups, w, b, 1e-5),
        Kind::Running => {
            let (mean, var) = running();
            ops::batch_norm_inference(x, &mean, &var, Some((w, b)), 1e-5)
        }
    }
}

/// The formula in candle's differentiable operations, computed in f64.
fn reference(kind: Kind, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F64)?;
    let shape = x.dims().to_vec();
    let mut one = vec![1; shape.len()];
    one[1] = 4;
    let rows = match kind {
        Kind::Groups(groups) => x.reshape((shape[0] * groups, ()))?,
        _ => x.transpose(0, 1)?.flatten_from(1)?,
    };
    let (mean, var) = match kind {
        Kind::Running => (running().0.reshape((4, 1))?, running().1.reshape((4, 1))?),
        _ => {
            let mean = rows.mean_keepdim(1)?;
            (mean.clone(), rows.broadcast_sub(&mean)?.sqr()?.mean_keepdim(1)?)
        }
    };
    let hat = rows.broadcast_sub(&mean)?.broadcast_div(&(var + 1e-5)?.sqrt()?)?;
    let hat = match kind {
        Kind::Groups(_) => hat.reshape(shape)?,
        _ => hat.reshape(x.transpose(0, 1)?.shape())?.transpose(0, 1)?,
    };
    let wide = |t: &Tensor| t.to_dtype(DType::F64)?.reshape(one.clone());
    hat.broadcast_mul(&wide(w)?)?.broadcast_add(&wide(b)?)
}

fn fits(kind: Kind, shape: &[usize]) -> bool {
    shape.len() > 2 || !matches!(kind, Kind::Groups(_))
}

#[test]
fn gradients_match_finite_differences() {
    for kind in KINDS {
        for shape in [&[5usize, 4][..], &[2, 4, 3], &[1, 4, 17], &[3, 4, 2, 2]] {
            if fits(kind, shape) {
                let x = var(1, shape, DType::F64);
                let (w, b) = (var(2, &[4], DType::F64), var(3, &[4], DType::F64));
                assert_matches_differences(&[&x, &w, &b], || run(kind, &x, &w, &b));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn gradients_match_candles(
        batch in 2usize..9,
        size in (1usize..12, 1usize..12),
        rank in 2usize..5,
        kind in 0usize..KINDS.len(),
        mean in -3.0f64..3.0,
        seed in any::<u64>(),
    ) {
        let shape = &[batch, 4, size.0, size.1][..rank];
        prop_assume!(fits(KINDS[kind], shape));
        let elements: usize = shape.iter().product();
        let set = match KINDS[kind] {
            Kind::Batch => elements / 4,
            Kind::Groups(groups) => elements / (batch * groups),
            Kind::Running => usize::MAX,
        };
        let cases = [(DType::F64, 1e-11), (DType::F32, 3e-5), (DType::F16, 3e-3), (DType::BF16, 2e-2)];
        // The deviation of one or two values is nothing but `eps`: rounding is all one would see.
        let cases = if set > 4 { &cases[..] } else { &cases[..1] };
        for &(dtype, tolerance) in cases {
            let x = shifted(seed, shape, dtype, mean);
            let (w, b) = (var(seed ^ 1, &[4], dtype), var(seed ^ 2, &[4], dtype));
            assert_matches_reference(
                &[&x, &w, &b],
                tolerance,
                || run(KINDS[kind], &x, &w, &b),
                || reference(KINDS[kind], &x, &w, &b),
            );
        }
    }
}

/// Enough elements for several blocks on several threads, and a mean that costs no digits.
#[test]
fn large_inputs_match_too() {
    for (shape, mean) in [(&[40, 4, 30, 31][..], 0.0), (&[2, 4, 40_000], 0.3), (&[64, 4, 64], 1e4)]
    {
        for kind in [Kind::Batch, Kind::Groups(2)] {
            let x = shifted(5, shape, DType::F32, mean);
            let (w, b) = (var(6, &[4], DType::F32), var(7, &[4], DType::F32));
            assert_matches_reference(
                &[&x, &w, &b],
                3e-5,
                || run(kind, &x, &w, &b),
                || reference(kind, &x, &w, &b),
            );
        }
    }
}

#[test]
fn strided_inputs_match() {
    let x = var(8, &[3, 5, 7, 6], DType::F64);
    let (w, b) = (var(9, &[4], DType::F64), var(10, &[4], DType::F64));
    let view = || x.permute((3, 1, 0, 2))?.narrow(1, 1, 4);
    for kind in KINDS {
        assert_matches_reference(
            &[&x, &w, &b],
            1e-11,
            || run(kind, &view()?, &w, &b),
            || reference(kind, &view()?, &w, &b),
        );
    }
}

#[test]
fn only_tracked_operands_get_gradients() {
    let x = var(11, &[3, 4, 5], DType::F32);
    let (w, b) = (var(12, &[4], DType::F32), var(13, &[4], DType::F32));
    for kind in KINDS {
        for mask in 0..8u8 {
            let pick = |bit: u8, var: &Var| match mask & (1 << bit) {
                0 => var.as_detached_tensor(),
                _ => var.as_tensor().clone(),
            };
            let y = run(kind, &pick(0, &x), &pick(1, &w), &pick(2, &b)).unwrap();
            let tracked = mask.count_ones() as usize;
            assert_eq!(y.sorted_nodes().len(), if mask == 0 { 0 } else { 2 + tracked });
            assert_eq!(y.track_op(), mask != 0);
            if mask != 0 {
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                assert_eq!(grads.get_ids().count(), tracked);
                for (bit, var) in [(0, &x), (1, &w), (2, &b)] {
                    assert_eq!(grads.get(var).is_some(), mask & (1 << bit) != 0);
                }
            }
        }
    }
}

#[test]
fn wrong_operands_are_errors() {
    let x = var(1, &[2, 4, 3], DType::F32);
    let w = var(2, &[4], DType::F32);
    let run = |x: &Tensor, groups, w: &Tensor| ops::group_norm(x, groups, w, w, 1e-5);
    let matrix = var(1, &[2, 4], DType::F32);
    let empty = Tensor::zeros((0, 4, 3), DType::F32, &Device::Cpu).unwrap();
    let cases = [
        (run(&x, 3, &w), "4 channels cannot be divided into 3 groups"),
        (run(&x, 0, &w), "4 channels cannot be divided into 0 groups"),
        (run(&matrix, 2, &w), "expected at least three dimensions"),
        (run(&empty, 2, &w), "nothing to normalise by"),
        (run(&x, 2, &var(2, &[3], DType::F32)), "the weight has shape [3]"),
        (run(&x, 2, &var(2, &[4], DType::F64)), "the weight is F64"),
        (
            ops::batch_norm_inference(&x, &var(2, &[3], DType::F32), &w, None, 1e-5),
            "the mean has shape [3]",
        ),
        (ops::batch_norm(&w, None, 1e-5).map(|(y, _)| y), "the input has shape [4]"),
    ];
    for (result, text) in cases {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}
