//! Every family of kernels gives the same bits at every level.
//!
//! The development profile does not vectorise loops. To test vectorised loops, run it as
//! `cargo test --lib --workspace --config 'profile.dev.package.freeze-core.opt-level=3' -- level`.

use candle_core::{Device, Layout, Result, Tensor, WithDType};
use half::{bf16, f16};

use super::{IN_FORCE, Level};
use crate::kernel::attention::{self, Heads, Order as Lie, Sight, Sizes};
use crate::kernel::conv::{self, Geometry, Settings};
use crate::kernel::norm::by_planes::{ByPlanes, From};
use crate::kernel::norm::planes::{Over, Planes, moments};
use crate::kernel::norm::{Center, rows};
use crate::kernel::rope::{Order, Turn, rotate};
use crate::kernel::update::add_scaled;
use crate::kernel::{
    Element, Real, Windows, add_to_rows, column_sums, cross_entropy, reduce, softmax, zip_map,
};

/// Empty, less than the lanes, with remainders, and more than one piece.
const LENGTHS: [usize; 8] = [0, 1, 7, 16, 33, 515, 4097, 70_003];

/// Runs `work` at every level that the processor has and compares the bits of the results; all NaN
/// count as equal. Other tests may run at these levels at the same time; their results do not
/// change.
pub(crate) fn same_at_each_level(what: &str, work: impl Fn() -> Vec<f64>) {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = Level::in_force();
    let mut expected: Option<Vec<u64>> = None;
    for level in Level::available() {
        IN_FORCE.store(level as u8, super::Ordering::Relaxed);
        let numbers = work().into_iter();
        let bits = numbers.map(|x| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() });
        let bits: Vec<u64> = bits.collect();
        IN_FORCE.store(before as u8, super::Ordering::Relaxed);
        match &expected {
            None => expected = Some(bits),
            Some(expected) => assert!(bits == *expected, "{what} is other bits at {level:?}"),
        }
    }
}

/// Numbers of both signs and several magnitudes, with `odd` ones among them.
fn numbers<T: WithDType>(len: usize, seed: usize, odd: bool) -> Vec<T> {
    let number = |i: usize| match i * 31 % 97 {
        5 if odd => f64::NAN,
        6 if odd => f64::INFINITY,
        7 if odd => f64::NEG_INFINITY,
        8 => -0.0,
        9 => 1e-6,
        _ => ((i + seed) as f64 * 0.73).sin() * 3.0,
    };
    (0..len).map(|i| T::from_f64(number(i + seed))).collect()
}

fn wide<T: WithDType>(values: impl AsRef<[T]>) -> Vec<f64> {
    values.as_ref().iter().map(|value| value.to_f64()).collect()
}

fn all<T: WithDType>(values: impl IntoIterator<Item = Option<Vec<T>>>) -> Vec<f64> {
    values.into_iter().flatten().flat_map(wide).collect()
}

/// The kernels over stored elements.
fn stored<T: Element>() -> Result<()> {
    for (len, odd) in LENGTHS.into_iter().flat_map(|len| [(len, false), (len, true)]) {
        let what = |kernel: &str| format!("{kernel} of {len} {:?}, odd {odd}", T::DTYPE);
        let (x, grad) = (numbers::<T>(len, 0, odd), numbers::<T>(len, 50, odd));
        let tensor = Tensor::from_slice(&x, len, &Device::Cpu)?;
        same_at_each_level(&what("looks"), || {
            let finite = reduce::all_finite(&[&tensor]).unwrap();
            vec![f64::from(u8::from(finite)), reduce::norm(&[&tensor]).unwrap().value()]
        });
        for width in [1, 9, 65, 515].into_iter().filter(|width| len / width > 0) {
            let len = len / width * width;
            let (x, grad) = (&x[..len], &grad[..len]);
            let (weight, bias) = (numbers::<T>(width, 7, false), numbers::<T>(width, 11, false));
            same_at_each_level(&what("softmax"), || {
                let y = softmax::forward(x, width);
                [wide(&y), wide(softmax::backward(&y, grad, width))].concat()
            });
            let class = |i: usize| (i % 5 != 3).then_some((i % width) as u32);
            let classes: Vec<_> = (0..len / width).map(class).collect();
            let share = |class| 0.1 + (class % 7) as f64;
            let smooth = (0..width).map(share).collect();
            for all in [Vec::new(), smooth] {
                let shares = cross_entropy::Shares { own: all.clone(), all };
                same_at_each_level(&what("cross entropy"), || {
                    let (loss, rows) = cross_entropy::forward(x, width, &classes, &shares);
                    let dx = cross_entropy::backward(x, width, &classes, &shares, &rows, 0.3);
                    [vec![loss], wide(dx), wide(rows.concat())].concat()
                });
            }
            for center in [Center::Mean, Center::Zero] {
                same_at_each_level(&what("rows"), || {
                    let bias = (center == Center::Mean).then_some(&bias[..]);
                    let (y, stats) = rows::forward(x, &weight, bias, 1e-5, center);
                    let back = rows::backward(x, &weight, grad, &stats, center, [true; 3]);
                    [wide(y), all(back)].concat()
                });
                for (channels, over) in [(1, Over::Batch), (1, Over::Group(1))] {
                    let planes = Planes { channels, len: width, over };
                    same_at_each_level(&what("planes"), || {
                        let moments = moments(x, planes, center);
                        let by = ByPlanes::new(planes, moments, 1e-5, From::Input(center));
                        let affine = [Some(&weight[..1]), Some(&bias[..1])];
                        let back = by.backward(x, affine, grad, [true; 3]).expect("one rank");
                        let relu = by.backward_relu(x, affine, grad, [true; 3]).expect("one rank");
                        let sum = [
                            by.forward_add_relu(x, grad, affine),
                            by.backward_of_sum(x, grad, affine, grad),
                        ];
                        let forward = [by.forward(x, affine), by.forward_relu(x, affine)];
                        [wide(forward.concat()), wide(sum.concat()), all(back), all(relu)].concat()
                    });
                }
            }
        }
    }
    [false, true].into_iter().for_each(turned::<T>);
    Ok(())
}

/// Rows of `[2, heads, length, 2 * half]`.
fn turned<T: Element>(odd: bool) {
    let (heads, length, half) = (3, 70, 37);
    let x = numbers::<T>(2 * heads * length * 2 * half, 0, odd);
    let (cos, sin) = (numbers(length * half, 3, false), numbers(length * half, 5, odd));
    same_at_each_level(&format!("rope of {:?}, odd {odd}", T::DTYPE), || {
        let turn = |order, turn| wide(rotate(&x, [&cos, &sin], [length, half], order, turn));
        [turn(Order::Split(heads), Turn::Forward), turn(Order::Kept, Turn::Back)].concat()
    });
}

/// The kernels over types of arithmetic.
fn real<T: Real>() -> Result<()> {
    for (len, odd) in LENGTHS.into_iter().flat_map(|len| [(len, false), (len, true)]) {
        let what = |kernel: &str| format!("{kernel} of {len} {:?}, odd {odd}", T::DTYPE);
        let (x, y) = (numbers::<T>(len, 0, odd), numbers::<T>(len, 50, odd));
        same_at_each_level(&what("exponentials"), || {
            let exp = |x: T, y: T| if x < y { (x - y).exp_of_negative() } else { x * y + y };
            wide(zip_map(&x, &y, exp))
        });
        same_at_each_level(&what("a sum of gradients"), || {
            let sum = Tensor::from_slice(&x, len, &Device::Cpu).unwrap();
            let grad = Tensor::from_slice(&y, len, &Device::Cpu).unwrap();
            add_scaled(&sum, 0.9, &grad, 0.7).unwrap();
            wide(sum.to_vec1::<T>().unwrap())
        });
        for width in [1, 9, 65, 515].into_iter().filter(|width| len / width > 0) {
            let matrix = &x[..len / width * width];
            let row = numbers::<T>(width, 3, odd);
            same_at_each_level(&what("columns"), || {
                let sums = wide(column_sums(matrix, width));
                let mut rows = matrix.to_vec();
                add_to_rows(&mut rows, &row);
                [sums, wide(rows)].concat()
            });
        }
    }
    for odd in [false, true] {
        for (stride, padding) in [(1, 0), (1, 1), (2, 1)] {
            convolution::<T>(Settings { padding, stride, dilation: 1, groups: 2 }, odd)?;
        }
        for (kernel, stride) in [(1, 1), (2, 2), (3, 1), (35, 1)] {
            pooling::<T>(kernel, stride, odd);
        }
        for sight in [Sight::All, Sight::Causal] {
            attend::<T>(sight, odd);
        }
    }
    Ok(())
}

fn attend<T: Real>(sight: Sight, odd: bool) {
    let (batch, heads, key_heads, queries, keys, inner, width) = (1, 4, 2, 70, 300, 9, 33);
    let sizes = Sizes { batch, heads, key_heads, queries, keys, inner, width };
    let q = numbers::<T>(heads * queries * inner, 0, odd);
    let k = numbers::<T>(key_heads * keys * inner, 3, false);
    let v = numbers::<T>(key_heads * keys * width, 5, odd);
    let grad = numbers::<T>(heads * queries * width, 7, false);
    let order = if odd { Lie::SideBySide } else { Lie::Apart };
    fn lies<T>(values: &[T], order: Lie, shape: [usize; 3]) -> Heads<'_, T> {
        Heads { values, steps: order.steps(shape) }
    }
    let [of_q, of_k, of_v] = sizes.operands();
    let (q, k, v) = (lies(&q, order, of_q), lies(&k, order, of_k), lies(&v, order, of_v));
    let call =
        attention::Call { sizes, q, k, v, order, scale: 0.3, sight, bias: None, drops: None };
    same_at_each_level(&format!("{sight:?} attention of {:?}, odd {odd}", T::DTYPE), || {
        let (y, stats) = attention::forward(&call);
        let of_y = sizes.result();
        let forward = attention::Forward {
            y: lies(&y, order, of_y),
            grad: lies(&grad, order, of_y),
            stats: &stats,
        };
        [wide(&y), all(attention::backward(&call, forward, [Some(order); 3]))].concat()
    });
}

fn convolution<T: Real>(set: Settings, odd: bool) -> Result<()> {
    let layouts = [(5, 4, 19, 23), (6, 2, 3, 3)].map(Layout::contiguous);
    let g = Geometry::new("conv", &layouts[0], &layouts[1], set)?;
    let x = numbers::<T>(g.batch * g.sample_in(), 0, odd);
    let grad = numbers::<T>(g.batch * g.sample_out(), 9, odd);
    let (weight, bias) = (numbers::<T>(g.weights(), 4, false), numbers::<T>(6, 2, false));
    same_at_each_level(&format!("{set:?} of {:?}, odd {odd}", T::DTYPE), || {
        let forward = wide(conv::forward(&g, &x, &weight, Some(&bias)));
        let input = wide(conv::input_gradient(&g, &weight, &grad));
        let (weight, bias) = (conv::weight_gradient(&g, &x, &grad), conv::bias_gradient(&g, &grad));
        [forward, input, wide(weight), wide(bias)].concat()
    });
    Ok(())
}

fn pooling<T: Real>(kernel: usize, stride: usize, odd: bool) {
    // Means have no padding.
    let padding = if odd { kernel / 2 } else { 0 };
    let output = |input: usize| (input + 2 * padding - kernel) / stride + 1;
    let windows = Windows {
        planes: (2, 3),
        input: (37, 41),
        output: (output(37), output(41)),
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (padding, padding),
    };
    let x = numbers::<T>(6 * 37 * 41, 0, odd);
    let grad = numbers::<T>(6 * windows.output.0 * windows.output.1, 5, odd);
    same_at_each_level(&format!("{windows:?} of {:?}, odd {odd}", T::DTYPE), || {
        let (max, mean) = (windows.max(&x), windows.mean(&x));
        let gradients = [windows.max_gradient(&x, &grad), windows.mean_gradient(&grad)];
        [wide(max), wide(mean), wide(gradients.concat())].concat()
    });
}

#[test]
fn kernels_over_stored_elements_give_the_same_bits_at_each_level() -> Result<()> {
    stored::<f32>()?;
    stored::<f64>()?;
    stored::<f16>()?;
    stored::<bf16>()
}

#[test]
fn kernels_over_numbers_give_the_same_bits_at_each_level() -> Result<()> {
    real::<f32>()?;
    real::<f64>()
}

#[test]
fn a_level_is_what_its_number_says() {
    for level in Level::available() {
        assert_eq!(Level::of(level as u8), Some(level));
    }
    assert_eq!(Level::of(0), None, "no level is chosen yet");
}

#[test]
fn a_level_is_asked_for_by_its_name() {
    let levels = Level::available();
    let widest = levels[levels.len() - 1];
    assert_eq!(Level::asked_for(None, &levels), widest);
    assert_eq!(Level::asked_for(Some("nonsense"), &levels), widest);
    for &level in &levels {
        assert_eq!(Level::asked_for(Some(level.name()), &levels), level);
        assert_eq!(Level::asked_for(Some(level.name()), &[Level::Baseline]), Level::Baseline);
    }
}
