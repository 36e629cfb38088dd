//! Reductions of gradients by candle's operations, for devices that have no kernel here.

use candle_core::{DType, Device, Result, Tensor};

/// The sum of all elements of `map(gradient)`: short rows are summed on the device, in the type of
/// its tensors, and the rows in double precision here, fetched together.
pub(super) fn sum_by_tensors(
    grads: &[&Tensor],
    map: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<f64> {
    const ROW: usize = 4096;
    fetched(grads, |grad| {
        let numbers = map(grad)?.flatten_all()?;
        let (len, rows) = (numbers.elem_count(), numbers.elem_count() / ROW);
        let rest = numbers.narrow(0, rows * ROW, len - rows * ROW)?.sum_keepdim(0)?;
        if rows == 0 {
            return Ok(rest);
        }
        let body = numbers.narrow(0, 0, rows * ROW)?.reshape((rows, ROW))?.sum(1)?;
        Tensor::cat(&[body, rest], 0)
    })
    .map(|rows| rows.into_iter().sum())
}

pub(super) fn largest_by_tensors(grads: &[&Tensor]) -> Result<f64> {
    let largest = fetched(grads, |grad| grad.abs()?.flatten_all()?.max_keepdim(0))?;
    Ok(largest.into_iter().fold(0.0, f64::max))
}

/// The few numbers of `reduce(gradient)` for each gradient, fetched from the device once for each
/// type.
fn fetched(grads: &[&Tensor], reduce: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f64>> {
    let (mut single, mut double): (Vec<Tensor>, Vec<Tensor>) = Default::default();
    for grad in grads.iter().filter(|grad| grad.elem_count() > 0) {
        let (wide, into) = match grad.dtype() {
            DType::F64 => (grad.detach(), &mut double),
            _ => (grad.detach().to_dtype(DType::F32)?, &mut single),
        };
        let reduced = reduce(&wide)?;
        let device: Option<Device> = into.first().map(|first| first.device().clone());
        into.push(match device {
            Some(device) => reduced.to_device(&device)?,
            None => reduced,
        });
    }
    let mut numbers = Vec::new();
    if !single.is_empty() {
        numbers.extend(Tensor::cat(&single, 0)?.to_vec1::<f32>()?.into_iter().map(f64::from));
    }
    if !double.is_empty() {
        numbers.extend(Tensor::cat(&double, 0)?.to_vec1::<f64>()?);
    }
    Ok(numbers)
}
