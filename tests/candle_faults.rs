//! Faults of candle 0.11.1 on the CPU that this library works around or warns of. A test that fails
//! says that candle has mended one: its workaround can go.

use std::panic::catch_unwind;

use candle_core::{DType, Device::Cpu, Module, ModuleT, Result, Tensor, Var};
use candle_nn::ops::softmax_last_dim;
use candle_nn::{AdamW, Conv2dConfig, LayerNorm, Linear, Optimizer, ParamsAdamW, rotary_emb::rope};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::{nn, optim};

/// `0, 1, 2, ..` halved, in a shape.
fn counted(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>() as f32;
    let numbers = Tensor::arange(0f32, count, &Cpu).and_then(|t| (t * 0.5)?.reshape(shape));
    numbers.expect("numbers")
}

fn var(shape: &[usize]) -> Var {
    Var::from_tensor(&counted(shape)).expect("a variable")
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("numbers")
}

/// The gradient of the sum of what `forward` returns.
fn gradient(x: &Var, forward: impl FnOnce(&Tensor) -> Result<Tensor>) -> Option<Vec<f32>> {
    let loss = forward(x.as_tensor()).and_then(|y| y.sum_all()).expect("a loss");
    loss.backward().expect("gradients").get(x).map(flat)
}

/// `nn::ops::max_pool2d` has a backward of its own. (Unknown upstream.)
#[test]
fn the_gradient_of_a_maximum_is_multiplied_by_its_share_of_the_window() {
    let found = gradient(&var(&[1, 1, 2, 2]), |x| x.max_pool2d(2)).expect("a gradient");
    assert_eq!(found, [0.0, 0.0, 0.0, 0.25], "right is [0, 0, 0, 1]");
    let ours = gradient(&var(&[1, 1, 2, 2]), |x| nn::ops::max_pool2d(x, 2));
    assert_eq!(ours.expect("a gradient"), [0.0, 0.0, 0.0, 1.0]);
}

/// `nn::Conv1d` copies such kernels first. (Pull requests 3836 and 3853.)
#[test]
fn a_strided_kernel_of_conv1d_is_read_as_if_it_were_not() {
    let (x, kernel) = (counted(&[1, 2, 6]), counted(&[2, 3, 2]).transpose(0, 1).expect("a view"));
    let of = |kernel: &Tensor| flat(&x.conv1d(kernel, 0, 1, 1, 1).expect("a convolution"));
    let copy = kernel.contiguous().expect("a copy");
    assert_ne!(of(&kernel), of(&copy));
    let ours = nn::Conv1d::new(kernel, None, Default::default()).forward(&x);
    assert_eq!(flat(&ours.expect("a convolution")), of(&copy));
}

/// `nn::Conv1d` has a backward of its own.
#[test]
fn the_gradients_of_conv1d_are_wrong_from_the_second_sample_on() {
    let (x, kernel) = (var(&[2, 2, 6]), counted(&[3, 2, 2]));
    let apart = |sample| {
        let x = Var::from_tensor(&x.narrow(0, sample, 1).expect("a sample")).expect("a variable");
        gradient(&x, |x| x.conv1d(&kernel, 0, 1, 1, 1)?.sqr()).expect("a gradient")
    };
    let right = [apart(0), apart(1)].concat();
    let found = gradient(&x, |x| x.conv1d(&kernel, 0, 1, 1, 1)?.sqr()).expect("a gradient");
    assert_ne!(found, right);
    let ours = gradient(&x, |x| nn::ops::conv1d(x, &kernel, None, &Default::default())?.sqr());
    assert_eq!(ours.expect("a gradient"), right);
}

/// `nn::Linear` makes its input contiguous. (Pull request 3758.)
#[test]
fn a_product_of_a_transposed_batch_with_one_matrix_mixes_rows() {
    let (layer, ours) =
        (Linear::new(counted(&[5, 3]), None), nn::Linear::new(counted(&[5, 3]), None));
    let x = counted(&[2, 3, 4]).transpose(1, 2).expect("a view");
    let of = |x: &Tensor| flat(&layer.forward(x).expect("a product"));
    let right = of(&x.contiguous().expect("a copy"));
    assert_ne!(of(&x), right);
    assert_eq!(flat(&ours.forward(&x).expect("a product")), right);
}

/// Nothing of ours upsamples. (Pull request 3507.)
#[test]
fn upsampling_forgets_the_gradient_that_was_there() {
    let (x, by) = (var(&[1, 1, 2, 2]), Tensor::ones((1, 1, 4, 4), DType::F32, &Cpu));
    let by = by.expect("ones");
    let found = [true, false].map(|first| {
        let grad = gradient(&x, |x| {
            let up = x.upsample_nearest2d(4, 4)?.mul(&by)?.sum_all()?;
            let own = x.sum_all()?;
            if first { up + own } else { own + up }
        });
        grad.expect("a gradient")
    });
    assert!(found.contains(&vec![4.0; 4]), "right is 5 both times: {found:?}");
}

/// The audit names what they cut off; `nn` has those that have a backward.
#[test]
fn fused_operations_cut_off_every_gradient_below_them() {
    let x = var(&[2, 4]);
    let ones = || Tensor::ones(4, DType::F32, &Cpu).expect("ones");
    let norm = LayerNorm::new(ones(), ones(), 1e-5);
    let rms = candle_nn::RmsNorm::new(ones(), 1e-5);
    assert_eq!(gradient(&x, softmax_last_dim), None);
    assert_eq!(gradient(&x, |x| norm.forward(x)), None);
    assert_eq!(gradient(&x, |x| rms.forward(x)), None);
    let (sin, x) = (counted(&[2, 2]), var(&[1, 1, 2, 4]));
    assert_eq!(gradient(&x, |x| rope(x, &sin, &sin)), None);
}

/// `nn::LayerNorm` takes two passes, and has f64.
#[test]
fn a_layer_norm_of_large_numbers_is_wrong() {
    let ones = |dtype| Tensor::ones(4, dtype, &Cpu).expect("ones");
    let zeros = |dtype| Tensor::zeros(4, dtype, &Cpu).expect("zeros");
    let norm = |dtype| LayerNorm::new(ones(dtype), zeros(dtype), 1e-5);
    let x = (counted(&[1, 4]) + 1e4).expect("numbers");
    let right = [-1.341_63f32, -0.447_21, 0.447_21, 1.341_63];
    let is_right = |found: Result<Tensor>| {
        let found = flat(&found.expect("a norm"));
        found.iter().zip(right).all(|(found, right)| (found - right).abs() <= 1e-3)
    };
    assert!(!is_right(norm(DType::F32).forward(&x)));
    assert!(is_right(nn::LayerNorm::from(norm(DType::F32)).forward(&x)));
    let double = counted(&[1, 4]).to_dtype(DType::F64).expect("doubles");
    assert!(norm(DType::F64).forward(&double).is_err(), "it has f64 now");
}

/// `nn::Conv2d` has a backward of its own.
#[test]
fn the_backward_of_a_strided_conv2d_fails_where_sides_differ() {
    let (x, kernel) = (var(&[1, 1, 8, 7]), var(&[1, 1, 3, 3]));
    let loss = x.conv2d(&kernel, 0, 2, 1, 1).and_then(|y| y.sum_all()).expect("a loss");
    assert!(loss.backward().is_err());
}

/// `nn`'s operations return none of a gradient that nobody reads.
#[test]
fn gradients_of_untracked_operands_are_computed() {
    let (x, weight) = (var(&[2, 3]), counted(&[3, 3]));
    let loss = x.matmul(&weight).and_then(|y| y.sum_all()).expect("a loss");
    assert!(loss.backward().expect("gradients").get(&weight).is_some());
}

/// `nn::ops::relu` and `nn::ops::max_pool2d` keep it visible.
#[test]
fn what_is_no_number_is_swallowed() {
    let x = Tensor::new(&[f32::NAN, 1.0], &Cpu).expect("numbers");
    assert_eq!(flat(&x.relu().expect("numbers")), [0.0, 1.0]);
    let x = Tensor::new(&[1.0, f32::NAN, 2.0, 0.0], &Cpu).and_then(|x| x.reshape((1, 1, 2, 2)));
    assert_eq!(flat(&x.and_then(|x| x.max_pool2d(2)).expect("numbers")), [2.0]);
}

/// `nn::ops::gelu` takes another form of the formula.
#[test]
fn gelu_cancels_far_below_zero() {
    let x = Tensor::new(&[-6f32], &Cpu).expect("a number");
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (-6.0 - 0.044715 * 216.0);
    let right = -6.0 / (1.0 + (-2.0 * inner).exp());
    let off =
        |found: Result<Tensor>| (f64::from(flat(&found.expect("numbers"))[0]) / right - 1.0).abs();
    assert!(off(x.gelu()) > 0.1);
    assert!(off(nn::ops::gelu(&x)) < 1e-4);
}

/// `nn::ops` make a tensor of their own of what has no elements.
#[test]
fn an_empty_view_that_begins_behind_its_storage_cannot_be_summed_up() {
    let empty = || Tensor::zeros((0, 6), DType::F32, &Cpu)?.narrow(1, 1, 4);
    let sum = |x: Result<Tensor>| x?.sum_all()?.to_scalar::<f32>();
    assert!(!matches!(catch_unwind(|| sum(empty())), Ok(Ok(_))));
    assert_eq!(sum(nn::ops::relu(&empty().expect("a view"))).expect("a sum"), 0.0);
}

/// `nn::BatchNorm` refuses it.
#[test]
fn a_batch_of_one_makes_the_statistics_of_a_batch_norm_nan() {
    let builder = || VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu);
    let norm = candle_nn::batch_norm(2, 1e-5, builder()).expect("a layer");
    norm.forward_t(&counted(&[1, 2]), true).expect("a batch");
    assert!(flat(norm.running_var()).iter().all(|x| x.is_nan()));
    let ours = nn::batch_norm(2, 1e-5, builder()).expect("a layer");
    assert!(ours.forward_t(&counted(&[1, 2]), true).is_err());
}

/// `nn::conv2d` refuses such sizes.
#[test]
fn a_convolution_whose_groups_do_not_divide_its_channels_is_built_and_fits_nothing() {
    let builder = || VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu);
    let config = Conv2dConfig { groups: 2, ..Default::default() };
    let layer = candle_nn::conv2d(3, 4, 1, config, builder()).expect("a layer");
    assert!(layer.forward(&counted(&[1, 3, 2, 2])).is_err());
    assert!(nn::conv2d(3, 4, 1, config, builder()).is_err());
}

/// `optim::AdamW` counts in `f32` and has an `eps` that is a number there.
#[test]
fn adamw_divides_zero_by_zero_in_half_precision() {
    fn stepped<O: Optimizer<Config = ParamsAdamW>>() -> f32 {
        let var = Var::ones(1, DType::F16, &Cpu).expect("a variable");
        let mut opt = O::new(vec![var.clone()], ParamsAdamW::default()).expect("an optimizer");
        let zero = Tensor::zeros(1, DType::F16, &Cpu).and_then(|zero| var.mul(&zero));
        opt.backward_step(&zero.expect("a loss")).expect("a step");
        flat(&var.to_dtype(DType::F32).expect("numbers"))[0]
    }
    assert!(stepped::<AdamW>().is_nan());
    assert!(stepped::<optim::AdamW>().is_finite());
}

/// `optim::AdamW` and `optim::PerParam` count for each variable.
#[test]
fn adamw_corrects_the_bias_of_a_late_variable_by_everybodys_steps() {
    fn first_update<O: Optimizer<Config = ParamsAdamW>>() -> f32 {
        let (early, late) = (var(&[1]), var(&[1]));
        let config = ParamsAdamW { lr: 1.0, weight_decay: 0.0, ..Default::default() };
        let mut opt = O::new(vec![early.clone(), late.clone()], config).expect("an optimizer");
        for loss in [early.affine(1.0, 0.0), early.affine(1.0, 0.0), early.add(&late)] {
            opt.backward_step(&loss.expect("a loss")).expect("a step");
        }
        flat(&late)[0]
    }
    // Adam's first update is the learning rate in size (Kingma and Ba, 2015).
    assert!((first_update::<AdamW>() + 1.0).abs() > 0.1);
    assert!((first_update::<optim::AdamW>() + 1.0).abs() < 1e-3);
}

/// `init::Seeded` and `nn::Dropout` have generators of their own.
#[test]
fn the_cpu_has_no_seed() {
    assert!(Cpu.set_seed(1).is_err());
}
