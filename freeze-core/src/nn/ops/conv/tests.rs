use candle_core::{DType, Device::Cpu, Layout, Tensor};

use super::portable;
use crate::kernel::conv::{self as cpu, Geometry, Settings};
use crate::kernel::slices::{tensor, with};

#[test]
fn the_portable_gradients_are_the_kernels() {
    for (x, w, [padding, stride, dilation, groups]) in [
        (vec![1, 2, 8, 7], vec![3, 2, 3, 3], [1, 2, 1, 1]),
        (vec![2, 4, 6, 9], vec![4, 2, 2, 3], [0, 1, 2, 2]),
        (vec![2, 3, 5, 5], vec![3, 1, 1, 1], [0, 1, 1, 3]),
        // One sample: from the second on candle's own conv1d gradients are wrong.
        (vec![1, 2, 9], vec![3, 2, 3], [1, 2, 1, 1]),
        (vec![1, 4, 8], vec![2, 2, 2], [0, 1, 1, 2]),
    ] {
        let set = Settings { padding, stride, dilation, groups };
        let g = Geometry::new("conv", &Layout::contiguous(&*x), &Layout::contiguous(&*w), set);
        let g = g.unwrap();
        let [x, w] = [x, w].map(|shape| Tensor::rand(-1f64, 1., shape, &Cpu).unwrap());
        let grad = match x.rank() {
            3 => Tensor::rand(-1f64, 1., (g.batch, g.channels_out, g.width.output), &Cpu),
            _ => {
                let shape = (g.batch, g.channels_out, g.height.output, g.width.output);
                Tensor::rand(-1f64, 1., shape, &Cpu)
            }
        }
        .unwrap();
        let kernels = with(&grad, |grad: &[f64]| {
            Ok([
                with(&w, |w: &[f64]| Ok(cpu::input_gradient(&g, w, grad)))?,
                with(&x, |x: &[f64]| Ok(cpu::weight_gradient(&g, x, grad)))?,
                cpu::bias_gradient(&g, grad),
            ])
        });
        let [dx, dw, db] = kernels.unwrap();
        for (kernel, portable) in [
            (dx, portable::input_gradient(&g, set, &w, &grad).unwrap()),
            (dw, portable::weight_gradient(&g, set, &x, &grad).unwrap()),
            (db, portable::bias_gradient(&grad).unwrap()),
        ] {
            let kernel = tensor(kernel, portable.shape(), DType::F64).unwrap();
            let off = (kernel - portable).unwrap().abs().unwrap().max_all().unwrap();
            assert!(off.to_scalar::<f64>().unwrap() < 1e-12);
        }
    }
}

#[test]
fn equal_bits_whatever_the_number_of_threads() {
    let set = Settings { padding: 1, stride: 1, dilation: 1, groups: 1 };
    let (x, w) = ((40, 8, 16, 16), (8, 8, 3, 3));
    let g = Geometry::new("conv", &Layout::contiguous(x), &Layout::contiguous(w), set).unwrap();
    let [x, w] = [Tensor::rand(-1f32, 1., x, &Cpu), Tensor::rand(-1f32, 1., w, &Cpu)]
        .map(|tensor| tensor.unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let y = cpu::forward(&g, &x, &w, None);
            let dx = cpu::input_gradient(&g, &w, &y);
            [cpu::weight_gradient(&g, &x, &y), dx, y]
        })
    };
    let first = run(1);
    for threads in [1, 2, 5] {
        assert!(run(threads) == first, "{threads} threads");
    }
}
