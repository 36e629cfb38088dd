use super::*;

/// To the last bit: the inputs of a window in their order, and what an input has of several windows row by row of them, in
/// each from the last to the first.
#[test]
fn means_and_their_gradients_are_summed_in_one_order() {
    for (input, kernel, stride, padding) in [
        ((6, 5), (3, 3), (1, 1), (0, 0)),
        ((7, 6), (3, 2), (2, 1), (1, 1)),
        ((5, 9), (2, 4), (1, 2), (0, 2)),
        ((4, 4), (2, 2), (3, 3), (0, 0)),
        ((3, 1), (3, 1), (1, 1), (1, 0)),
    ] {
        let side = |input, kernel, stride, padding| (input + 2 * padding - kernel) / stride + 1;
        let output = (
            side(input.0, kernel.0, stride.0, padding.0),
            side(input.1, kernel.1, stride.1, padding.1),
        );
        let windows = Windows { planes: (1, 2), input, output, kernel, stride, padding };
        let numbers = |n: usize| (0..n).map(|i| 1. / (3 + i) as f32).collect::<Vec<_>>();
        let (pixels, outs) = (input.0 * input.1, output.0 * output.1);
        let (x, grad) = (numbers(2 * pixels), numbers(2 * outs));
        let scale = windows.scale::<f32>();
        let (mut y, mut dx) = (vec![0f32; grad.len()], vec![0f32; x.len()]);
        for plane in 0..2 {
            let mut pairs = Vec::new();
            windows.each_window(|out, [rows, columns]| {
                for row in rows {
                    pairs.extend(columns.clone().map(|column| (out, row * input.1 + column)));
                }
            });
            for &(out, at) in &pairs {
                y[plane * outs + out] += x[plane * pixels + at];
            }
            pairs.sort_by_key(|&(out, _)| (out / output.1, std::cmp::Reverse(out % output.1)));
            for (out, at) in pairs {
                dx[plane * pixels + at] += grad[plane * outs + out] * scale;
            }
        }
        y.iter_mut().for_each(|sum| *sum *= scale);
        assert_eq!(windows.mean(&x), y, "{windows:?}");
        assert_eq!(windows.mean_gradient(&grad), dx, "{windows:?}");
    }
}
