//! `ops::{rope, split_heads_rope}`.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rotary_emb::rope as candles;
use freeze_core::nn::ops::{rope, split_heads, split_heads_rope};

use crate::support::{
    assert_close, check, check_against, check_half, flat, gradients, random, refusal,
};

/// Cosines and sines of any angles.
fn tables(length: usize, half: usize, dtype: DType) -> [Tensor; 2] {
    let angles = (random(9, (length, half), DType::F64) * 9.).unwrap();
    [angles.cos(), angles.sin()].map(|table| table.unwrap().to_dtype(dtype).unwrap())
}

/// The definition, in operations that have a backward.
fn definition(x: &Tensor, [cos, sin]: &[Tensor; 2]) -> Result<Tensor> {
    let half = x.dim(3)? / 2;
    let (x1, x2) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let y1 = (x1.broadcast_mul(cos)? - x2.broadcast_mul(sin)?)?;
    let y2 = (x2.broadcast_mul(cos)? + x1.broadcast_mul(sin)?)?;
    Tensor::cat(&[y1, y2], 3)
}

#[test]
fn gradients_by_finite_differences() {
    let [cos, sin] = tables(3, 2, DType::F64);
    let turn = |x: &Tensor| rope(x, &cos, &sin);
    check(&[random(1, (2, 2, 3, 4), DType::F64)], |t| turn(&t[0]));
    check(&[random(1, (3, 2, 2, 4), DType::F64)], |t| turn(&t[0].transpose(0, 2)?));
    for heads in [1, 3] {
        let x = random(2, (2, 3, 4 * heads), DType::F64);
        check(&[x], |t| split_heads_rope(&t[0], heads, &cos, &sin));
    }
}

/// Small and large, in one piece and by pieces on several threads.
#[test]
fn equal_to_candles_and_to_the_definition() {
    for (batch, heads, length, size) in [(1, 1, 1, 2), (2, 3, 5, 6), (2, 4, 90, 64), (1, 2, 7, 34)]
    {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
            let tables = tables(length, size / 2, dtype);
            let [cos, sin] = &tables;
            let x = random(1, (batch, heads, length, size), dtype);
            let (found, stock) = (rope(&x, cos, sin).unwrap(), candles(&x, cos, sin).unwrap());
            assert_eq!(flat(&found), flat(&stock), "{size} {dtype:?}");
            let turn = |t: &[Tensor]| rope(&t[0], cos, sin);
            check_against(&[x], tolerance, turn, |t| definition(&t[0], &tables));
            let x = random(1, (batch, length, heads * size), dtype);
            check_against(
                &[x],
                tolerance,
                |t| split_heads_rope(&t[0], heads, cos, sin),
                |t| definition(&split_heads(&t[0], heads)?, &tables),
            );
        }
    }
}

#[test]
fn halves_are_computed_in_f32() {
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 8e-3)] {
        let [cos, sin] = tables(40, 16, DType::F32);
        let x = random(1, (2, 3, 40, 32), dtype);
        check_half(dtype, tolerance, std::slice::from_ref(&x), |t| rope(&t[0], &cos, &sin));
        // Rounded once, at the end.
        let exact = rope(&x.to_dtype(DType::F32).unwrap(), &cos, &sin).unwrap();
        assert_eq!(flat(&rope(&x, &cos, &sin).unwrap()), flat(&exact.to_dtype(dtype).unwrap()));
        let [cos, sin] = [cos, sin].map(|table| table.to_dtype(dtype).unwrap());
        check_half(DType::F32, 0., &[x], |t| {
            rope(&t[0], &cos.to_dtype(DType::F32)?, &sin.to_dtype(DType::F32)?)
        });
        assert_eq!(rope(&random(1, (1, 1, 40, 32), dtype), &cos, &sin).unwrap().dtype(), dtype);
    }
}

#[test]
fn turned_back_it_is_the_input() {
    let [cos, sin] = tables(9, 4, DType::F64);
    let x = random(1, (2, 3, 9, 8), DType::F64);
    let back = rope(&rope(&x, &cos, &sin).unwrap(), &cos, &sin.neg().unwrap()).unwrap();
    assert_close(&back, &x, 1e-14, "there and back");
    // A row is turned by its own position, wherever it stands in the batch.
    let late = x.narrow(2, 4, 5).unwrap();
    let [cos_late, sin_late] = [&cos, &sin].map(|table| table.narrow(0, 4, 5).unwrap());
    let whole = rope(&x, &cos, &sin).unwrap().narrow(2, 4, 5).unwrap();
    assert_eq!(flat(&rope(&late, &cos_late, &sin_late).unwrap()), flat(&whole));
}

#[test]
fn nan_stays_visible() {
    let [cos, sin] = tables(2, 1, DType::F32);
    let values = [f32::NAN, 1., 1., 2., 1., f32::INFINITY, 3., 4.];
    let x = Tensor::from_slice(&values, (1, 2, 2, 2), &Device::Cpu).unwrap();
    let (y, grads) = gradients(&[x], &[true], |t| rope(&t[0], &cos, &sin));
    for values in [flat(&y), flat(grads[0].as_ref().unwrap())] {
        let finite: Vec<bool> = values.into_iter().map(f64::is_finite).collect();
        assert_eq!(finite, [false, false, true, true, false, false, true, true]);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let [cos, sin] = tables(90, 32, DType::F32);
    let x = random(1, (2, 90, 256), DType::F32);
    let run = || {
        let (y, grads) = gradients(std::slice::from_ref(&x), &[true], |t| {
            split_heads_rope(&t[0], 4, &cos, &sin)
        });
        [flat(&y), flat(grads[0].as_ref().unwrap())]
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(run), run());
}

#[test]
fn nothing_and_refusals() {
    let tables = |length, half| tables(length, half, DType::F32);
    for shape in [[0, 2, 3, 4], [2, 0, 3, 4], [2, 2, 0, 4], [2, 2, 3, 0]] {
        let [cos, sin] = tables(shape[2], shape[3] / 2);
        let x = random(1, &shape[..], DType::F32);
        let (y, grads) = gradients(&[x], &[true], |t| rope(&t[0], &cos, &sin));
        assert_eq!((y.dims(), grads[0].as_ref().unwrap().dims()), (&shape[..], &shape[..]));
        if shape[1] > 0 {
            let x = random(1, (shape[0], shape[2], shape[1] * shape[3]), DType::F32);
            let (y, _) =
                gradients(&[x], &[true], |t| split_heads_rope(&t[0], shape[1], &cos, &sin));
            assert_eq!(y.dims(), shape);
        }
    }
    let [cos, sin] = tables(3, 2);
    let [f64_cos, f64_sin] = [&cos, &sin].map(|table| table.to_dtype(DType::F64).unwrap());
    let tracked = candle_core::Var::from_tensor(&sin).unwrap().into_inner();
    let four = "expected [batch, heads, length, size] with an even size";
    for (shape, cos, sin, words) in [
        (&[2, 3, 4][..], &cos, &sin, four),
        (&[2, 2, 3, 5], &cos, &sin, four),
        (&[2, 2, 4, 4], &cos, &sin, "the cosines have shape [3, 2], expected [4, 2]"),
        (&[2, 2, 3, 6], &cos, &sin, "the cosines have shape [3, 2], expected [3, 3]"),
        (&[2, 2, 3, 4], &cos, &cos.t().unwrap(), "the sines have shape [2, 3], expected [3, 2]"),
        (&[2, 2, 3, 4], &f64_cos, &f64_sin, "the cosines are F64, expected F32 or the input's F32"),
        (&[2, 2, 3, 4], &cos, &tracked, "the sines are tracked"),
    ] {
        let text = refusal(rope(&random(1, shape, DType::F32), cos, sin));
        assert!(text.contains(words), "{text}");
    }
    for (width, heads) in [(8, 0), (8, 3), (9, 3)] {
        let text =
            refusal(split_heads_rope(&random(1, (2, 3, width), DType::F32), heads, &cos, &sin));
        assert!(text.contains(&format!("{heads} heads of an even size")), "{text}");
    }
    let ints = random(1, (1, 1, 3, 4), DType::F32).to_dtype(DType::U32).unwrap();
    assert!(rope(&ints, &cos, &sin).is_err());
}
