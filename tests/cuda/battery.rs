//! One operation on the CPU and on the card: results, gradients, and for what there are any.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Device, Result, Tensor, TensorId, Var};
use freeze_core::nn::ops;

use crate::card;
use crate::support::{flat, loss, random};

type Forward = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// An operation and the shapes of its operands. `lean`: on the card, too, gradients are made for
/// tracked operands alone.
pub struct Row {
    name: String,
    shapes: Vec<Vec<usize>>,
    lean: bool,
    forward: Forward,
}

pub fn row(
    name: impl Into<String>,
    shapes: &[&[usize]],
    lean: bool,
    forward: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
) -> Row {
    let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
    Row { name: name.into(), shapes, lean, forward: Box::new(forward) }
}

/// How the first operand lies in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lies {
    Contiguous,
    Transposed,
    Narrowed,
}

/// What one run gives: the result, each tracked operand's gradient, and whose gradients there are.
struct Outcome {
    y: Tensor,
    grads: Vec<Option<Tensor>>,
    lean: bool,
}

/// Element types, and how far the card may be off: the same arithmetic in another order. Halves are
/// held against f32 on the CPU.
const DTYPES: [(DType, DType, f64); 4] = [
    (DType::F64, DType::F64, 1e-11),
    (DType::F32, DType::F32, 2e-5),
    (DType::F16, DType::F32, 1e-2),
    (DType::BF16, DType::F32, 6e-2),
];

/// Every row in every element type, layout and subset of tracked operands; all that is off is
/// reported together.
#[track_caller]
pub fn check(rows: &[Row]) {
    let Some(card) = card() else { return };
    let mut faults = Vec::new();
    for row in rows {
        for (dtype, reference, tolerance) in DTYPES {
            for lies in [Lies::Contiguous, Lies::Transposed, Lies::Narrowed] {
                for subset in 0..1usize << row.shapes.len() {
                    if lies != Lies::Contiguous && subset + 1 != 1 << row.shapes.len() {
                        continue;
                    }
                    let context = format!("{} {dtype:?} {lies:?} tracked {subset:b}", row.name);
                    let compared =
                        || compare(row, &card, dtype, reference, tolerance, lies, subset);
                    // A panic is a fault like another.
                    let compared = catch_unwind(AssertUnwindSafe(compared));
                    if let Err(fault) = compared.unwrap_or_else(|_| Err("a panic".to_string())) {
                        faults.push(format!("{context}: {fault}"));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn compare(
    row: &Row,
    card: &Device,
    dtype: DType,
    reference: DType,
    tolerance: f64,
    lies: Lies,
    subset: usize,
) -> std::result::Result<(), String> {
    let on_card = run(row, card, dtype, dtype, lies, subset);
    let on_cpu = run(row, &Device::Cpu, dtype, reference, lies, subset);
    let (found, expected) = match (on_card, on_cpu) {
        (Ok(found), Ok(expected)) => (found, expected),
        (Err(_), Err(_)) => return Ok(()),
        (Err(error), Ok(_)) => return Err(format!("the card alone refuses: {error}")),
        (Ok(_), Err(error)) => return Err(format!("the CPU alone refuses: {error}")),
    };
    if !found.y.device().is_cuda() {
        return Err("the result left the card".to_string());
    }
    close(&found.y, &expected.y, tolerance).map_err(|off| format!("result: {off}"))?;
    if row.lean && !found.lean {
        return Err("gradients for what is not tracked".to_string());
    }
    for (i, (found, expected)) in found.grads.iter().zip(&expected.grads).enumerate() {
        match (found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                close(found, expected, tolerance).map_err(|off| format!("gradient {i}: {off}"))?;
            }
            _ => return Err(format!("gradient {i} is on one device alone")),
        }
    }
    Ok(())
}

fn run(
    row: &Row,
    device: &Device,
    rounded: DType,
    dtype: DType,
    lies: Lies,
    subset: usize,
) -> Result<Outcome> {
    let mut inputs = Vec::new();
    for (i, shape) in row.shapes.iter().enumerate() {
        let shape = if i == 0 { stored(shape, lies) } else { shape.clone() };
        let operand = random(i as u64 + 1, shape, DType::F64).to_dtype(rounded)?.to_dtype(dtype)?;
        let operand = operand.to_device(device)?;
        inputs.push(match subset >> i & 1 {
            1 => Var::from_tensor(&operand)?.into_inner(),
            _ => operand,
        });
    }
    let mut operands = inputs.clone();
    // Results of an operation, of which a graph holds only what its backward reads: candle holds variables anyway.
    if device.is_cuda() && lies == Lies::Contiguous {
        for operand in operands.iter_mut().filter(|operand| operand.is_variable()) {
            *operand = ops::affine(operand, 1.0, 0.0)?;
        }
    }
    let first = operands[0].clone();
    operands[0] = match lies {
        Lies::Transposed if first.rank() > 1 => {
            first.transpose(first.rank() - 2, first.rank() - 1)?
        }
        Lies::Narrowed => first.narrow(first.rank() - 1, 1, first.dim(first.rank() - 1)? - 2)?,
        _ => first,
    };
    let y = (row.forward)(&operands)?;
    if subset == 0 {
        return Ok(Outcome { lean: !y.track_op(), y, grads: vec![None; inputs.len()] });
    }
    let grads = loss(&y)?.backward()?;
    let found: HashSet<TensorId> = grads.get_ids().copied().collect();
    let tracked = inputs.iter().filter(|input| input.is_variable()).map(Tensor::id);
    let lean = found == tracked.collect();
    let grads = inputs.iter().map(|input| {
        let grad = input.is_variable().then(|| grads.get(input).cloned());
        grad.flatten()
    });
    Ok(Outcome { y, grads: grads.collect(), lean })
}

/// The shape that is stored so that the operand has `shape`.
fn stored(shape: &[usize], lies: Lies) -> Vec<usize> {
    let (mut shape, rank) = (shape.to_vec(), shape.len());
    match lies {
        Lies::Transposed if rank > 1 => shape.swap(rank - 2, rank - 1),
        Lies::Narrowed => shape[rank - 1] += 2,
        _ => {}
    }
    shape
}

/// Elements equal to within `tolerance` of the larger of 1 and the largest.
pub fn close(found: &Tensor, expected: &Tensor, tolerance: f64) -> std::result::Result<(), String> {
    if found.dims() != expected.dims() {
        return Err(format!("shape {:?}, expected {:?}", found.dims(), expected.dims()));
    }
    let (found, expected) = (flat(found), flat(expected));
    let scale = expected.iter().fold(1f64, |scale, value| scale.max(value.abs()));
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / scale);
    // A NaN must not be lost.
    let worst = off.fold(0f64, |worst, off| if off > worst || off.is_nan() { off } else { worst });
    if worst <= tolerance { Ok(()) } else { Err(format!("off by {worst:e}")) }
}
