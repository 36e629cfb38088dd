//! `BatchNorm::{forward_relu, forward_add_relu}` are the layer and what follows, in fewer passes.

use candle_core::{DType, ModuleT, Result, Tensor, Var};
use freeze_core::nn::{BatchNorm, ops};
use freeze_core::{BatchNormPolicy, Freezable, Freezer};

use crate::support::{assert_close, check, check_half, flat, random, refusal};

/// A layer over the weight and bias in `t`, with statistics of its own.
fn layer(weight_and_bias: Option<[&Tensor; 2]>, channels: usize) -> Result<BatchNorm> {
    let mean = random(7, channels, DType::F32);
    let variance = (random(8, channels, DType::F32) + 1.5)?;
    match weight_and_bias {
        None => BatchNorm::new_no_bias(channels, mean, variance, 1e-3),
        Some([w, b]) => BatchNorm::new(channels, mean, variance, w.clone(), b.clone(), 1e-3),
    }
}

/// An input, a residual, a weight and a bias.
fn operands(shape: &[usize], dtype: DType) -> [Tensor; 4] {
    let channel = |seed| random(seed, shape[1], dtype);
    [random(1, shape, dtype), random(2, shape, dtype), channel(3), channel(4)]
}

type Run = fn(&BatchNorm, &[Tensor], bool) -> Result<Tensor>;

/// The fused form, and the operations one by one.
const TABLE: [(Run, Run); 2] = [
    (
        |layer, t, train| layer.forward_relu(&t[0], train),
        |layer, t, train| ops::relu(&layer.forward_t(&t[0], train)?),
    ),
    (
        |layer, t, train| layer.forward_add_relu(&t[0], &t[1], train),
        |layer, t, train| ops::relu(&ops::add(&layer.forward_t(&t[0], train)?, &t[1])?),
    ),
];

#[test]
fn gradients_by_finite_differences() {
    for shape in [&[3, 2, 4][..], &[2, 2, 3, 2], &[5, 2]] {
        let [x, residual, w, b] = operands(shape, DType::F64);
        for train in [true, false] {
            check(&[x.clone(), w.clone(), b.clone()], |t| {
                layer(Some([&t[1], &t[2]]), 2)?.forward_relu(&t[0], train)
            });
            check(&[x.clone(), residual.clone(), w.clone(), b.clone()], |t| {
                layer(Some([&t[2], &t[3]]), 2)?.forward_add_relu(&t[0], &t[1], train)
            });
            check(&[x.clone(), residual.clone()], |t| {
                layer(None, 2)?.forward_add_relu(&t[0], &t[1], train)
            });
        }
    }
}

#[test]
fn equal_to_the_operations_one_by_one() {
    for shape in [&[8, 6, 9, 11][..], &[4, 16, 40, 40], &[3, 5, 7], &[9, 4]] {
        let operands = operands(shape, DType::F32);
        for (fused, single) in TABLE {
            for train in [true, false] {
                let run = |run: Run| -> Result<[Option<Tensor>; 6]> {
                    let vars: Vec<Var> =
                        operands.iter().map(Var::from_tensor).collect::<Result<_>>()?;
                    let t: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
                    let layer = layer(Some([&t[2], &t[3]]), shape[1])?;
                    let y = run(&layer, &t, train)?;
                    let grads = y.sqr()?.sum_all()?.backward()?;
                    let [x, residual, w, b] = [0, 1, 2, 3].map(|i| grads.get(&t[i]).cloned());
                    Ok([x, residual, w, b, Some(y), Some(layer.running_var().detach())])
                };
                for (found, expected) in run(fused).unwrap().iter().zip(&run(single).unwrap()) {
                    match (found, expected) {
                        (Some(found), Some(expected)) => {
                            assert_close(found, expected, 1e-5, &format!("{shape:?}, {train}"));
                        }
                        _ => assert!(found.is_none() && expected.is_none()),
                    }
                }
            }
        }
    }
}

#[test]
fn halves() {
    let [x, residual, w, b] = operands(&[6, 3, 5, 4], DType::F32);
    for (dtype, tolerance) in [(DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        check_half(dtype, tolerance, &[x.clone(), w.clone(), b.clone()], |t| {
            layer(Some([&t[1], &t[2]]), 3)?.forward_relu(&t[0], true)
        });
        check_half(dtype, tolerance, &[x.clone(), residual.clone(), w.clone(), b.clone()], |t| {
            layer(Some([&t[2], &t[3]]), 3)?.forward_add_relu(&t[0], &t[1], true)
        });
    }
}

#[test]
fn statistics_move_as_ever_and_stay_under_the_inference_policy() -> Result<()> {
    let [x, residual, w, b] = operands(&[6, 3, 5, 4], DType::F32);
    let moved = |run: &dyn Fn(&BatchNorm) -> Result<Tensor>| -> Result<Vec<f64>> {
        let layer = layer(Some([&w, &b]), 3)?;
        run(&layer)?;
        Ok([flat(layer.running_mean()), flat(layer.running_var())].concat())
    };
    let expected = moved(&|layer| layer.forward_t(&x, true))?;
    assert_eq!(moved(&|layer| layer.forward_relu(&x, true))?, expected);
    assert_eq!(moved(&|layer| layer.forward_add_relu(&x, &residual, true))?, expected);
    assert_ne!(moved(&|layer| layer.forward_relu(&x, false))?, expected);

    let mut freezer = Freezer::new(layer(Some([&w, &b]), 3)?.into_trainable()?)?;
    freezer.set_batch_norm(BatchNormPolicy::Inference)?;
    freezer.freeze_front(1, &mut [])?;
    let before = flat(freezer.running_var());
    let y = freezer.forward_add_relu(&x, &residual, true)?;
    assert_eq!(flat(&y), flat(&freezer.forward_add_relu(&x, &residual, false)?));
    assert_eq!(flat(freezer.running_var()), before);
    Ok(())
}

#[test]
fn what_is_no_number_stays_visible_and_misfits_are_named() {
    let [x, residual, w, b] = operands(&[2, 3, 2, 2], DType::F32);
    let layer = layer(Some([&w, &b]), 3).unwrap();
    let nan = (residual.ones_like().unwrap() * f64::NAN).unwrap();
    let y = layer.forward_add_relu(&x, &nan, true).unwrap();
    assert!(flat(&y).iter().all(|y| y.is_nan()));
    assert!(flat(&layer.forward_relu(&nan, false).unwrap()).iter().all(|y| y.is_nan()));
    let text = refusal(layer.forward_add_relu(&x, &residual.narrow(0, 0, 1).unwrap(), true));
    assert!(text.contains("shape [2, 3, 2, 2], but the residual [1, 3, 2, 2]"), "{text}");
    let double = residual.to_dtype(DType::F64).unwrap();
    let text = refusal(layer.forward_add_relu(&x, &double, true));
    assert!(text.contains("the input is F32, the residual F64"), "{text}");
}

#[test]
fn a_fused_end_records_fewer_results() {
    let [x, residual, w, b] = operands(&[2, 3, 2, 2], DType::F32);
    let x = Var::from_tensor(&x).unwrap();
    let layer = layer(Some([&w, &b]), 3).unwrap();
    let operands = [x.as_tensor().clone(), residual];
    let nodes = TABLE.map(|(fused, single)| {
        [fused, single].map(|run| run(&layer, &operands, true).unwrap().sorted_nodes().len())
    });
    // A variable, the operations, and the last one's result.
    assert_eq!(nodes, [[3, 4], [3, 5]]);
}
