//! The reductions by loops against the same composed of candle operations.

use candle_core::{DType, Device, Result, Tensor};

use super::by_tensors::sum_by_tensors;
use super::norms::sum_squares;
use super::{all_finite, finite, norm};
use crate::kernel::pieces::STREAM;

const DTYPES: [DType; 4] = [DType::F16, DType::BF16, DType::F32, DType::F64];

#[test]
fn the_probes_see_one_odd_element_wherever_it_is() -> Result<()> {
    let len = 2 * STREAM.from + 3;
    for dtype in DTYPES {
        for at in [0, 4095, 4096, len / 2, len - 1] {
            for (odd, finite) in [
                (f32::NAN, false),
                (f32::INFINITY, false),
                (f32::NEG_INFINITY, false),
                (65504.0, true),
                (0.0, true),
                (1e-7, true),
            ] {
                let mut elements = vec![1f32; len];
                elements[at] = odd;
                let grad = Tensor::new(elements, &Device::Cpu)?.to_dtype(dtype)?;
                assert_eq!(all_finite(&[&grad])?, finite, "{odd} at {at} in {dtype:?}");
                assert_eq!(norm(&[&grad])?.is_of_finite(), finite);
                assert_eq!(finite::all_finite_by_tensors(&[&grad])?, finite);
            }
        }
    }
    Ok(())
}

/// Tests the loop itself, because `norm` would compute a sum of 0 again in another way.
#[test]
fn squares_are_summed_up_in_one_pass() {
    assert_eq!(sum_squares::<f32>(&[]), 0.0);
    assert_eq!(sum_squares(&[3f32, -4.0]), 25.0);
    assert_eq!(sum_squares(&[half::f16::from_f32(2.0); 1025]), 4100.0);
    assert_eq!(sum_squares(&vec![1f64; STREAM.from + 3]), (STREAM.from + 3) as f64);
}

#[test]
fn norms() -> Result<()> {
    let cpu = &Device::Cpu;
    for dtype in DTYPES {
        for (elements, expected) in [
            (vec![], 0.0),
            (vec![0.0; 5], 0.0),
            (vec![3.0, -4.0], 5.0),
            (vec![2.0; 1025], 4100f64.sqrt()),
            (vec![1.0; 200_003], 200_003f64.sqrt()),
        ] {
            let grad = Tensor::from_vec(elements.clone(), elements.len(), cpu)?.to_dtype(dtype)?;
            assert_eq!(norm(&[&grad])?.value(), expected);
            assert_eq!(sum_by_tensors(&[&grad], Tensor::sqr)?.sqrt(), expected);
        }
    }
    Ok(())
}

/// A sum in one `f32` would stop at 2^24, and lose small numbers before that.
#[test]
fn a_sum_goes_on_where_single_precision_stops() -> Result<()> {
    let len = (1 << 24) + 4099;
    let ones = Tensor::ones(len, DType::BF16, &Device::Cpu)?;
    assert_eq!(norm(&[&ones])?.value(), (len as f64).sqrt());
    assert_eq!(sum_by_tensors(&[&ones], Tensor::sqr)?, len as f64);
    Ok(())
}

#[test]
fn norms_of_huge_and_tiny_gradients() -> Result<()> {
    for (a, b) in [(3e200, 4e200), (3e-200, 4e-200), (3e-310, 4e-310), (3.0, 4e200), (3e38, 4e38)] {
        let grads = [Tensor::new(&[a, 0.0], &Device::Cpu)?, Tensor::new(&[b], &Device::Cpu)?];
        let norm = norm(&[&grads[0], &grads[1]])?;
        let expected = f64::hypot(a, b);
        assert!((norm.value() / expected - 1.0).abs() < 1e-9, "{norm:?} of {a} and {b}");
    }
    // The norm overflows, but there is a factor that clips it.
    let grads = Tensor::full(f64::MAX, 4, &Device::Cpu)?;
    let norm = norm(&[&grads])?;
    assert!(norm.is_of_finite() && norm.value().is_infinite());
    let clipped = (grads * norm.factor_to(1.0))?.to_vec1::<f64>()?;
    assert!(clipped.iter().all(|x| (x - 0.5).abs() < 1e-9), "{clipped:?}");
    Ok(())
}
