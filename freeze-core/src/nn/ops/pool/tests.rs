use candle_core::{DType, Device::Cpu, Tensor};

use super::{Kind, Pool, lowest_around, portable};
use crate::kernel::slices::{tensor, with};

#[test]
fn the_portable_gradients_are_the_kernels() {
    // Few distinct values, so that windows have several maxima.
    let values: Vec<f64> = (0..2 * 3 * 7 * 6).map(|i| (i * i % 5) as f64).collect();
    let x = Tensor::from_vec(values, (2, 3, 7, 6), &Cpu).unwrap();
    for (kernel, stride) in [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((1, 3), (2, 1))] {
        let pool = Pool { kind: Kind::Max, kernel, stride, padding: (0, 0) };
        let windows = pool.windows(x.dims()).unwrap();
        let y = x.max_pool2d_with_stride(kernel, stride).unwrap();
        let grad = Tensor::arange(0f64, y.elem_count() as f64, &Cpu).unwrap();
        let grad = grad.reshape(y.shape()).unwrap();
        let kernels = with(&grad, |grad: &[f64]| {
            let max = with(&x, |x: &[f64]| Ok(windows.max_gradient(x, grad)))?;
            Ok([max, windows.mean_gradient(grad)])
        });
        let [max, mean] = kernels.unwrap().map(|dx| tensor(dx, x.shape(), DType::F64).unwrap());
        for (kernel, portable) in [
            (max, portable::max_gradient(&windows, &x, &y, &grad).unwrap()),
            (mean, portable::mean_gradient(&windows, &x, &grad).unwrap()),
        ] {
            let off = (kernel - portable).unwrap().abs().unwrap().max_all().unwrap();
            assert!(off.to_scalar::<f64>().unwrap() < 1e-12);
        }
    }
}

#[test]
fn what_is_put_around_is_no_maximum() {
    let x = Tensor::new(&[[[[-1f32, -2.], [-3., f32::NEG_INFINITY]]]], &Cpu).unwrap();
    let around = lowest_around(&x, [1, 2]).unwrap();
    assert_eq!(around.dims(), [1, 1, 4, 6]);
    let padded = super::max_pool2d_padded(&x, (2, 4), 1, (1, 2)).unwrap();
    let composed = super::max_pool2d_with_stride(&around, (2, 4), 1).unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&padded), values(&composed));
    assert_eq!(lowest_around(&x, [0, 0]).unwrap().dims(), x.dims());
}
