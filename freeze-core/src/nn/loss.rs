//! The cross-entropy of logits and labels: one pass each for forward and backward, and only two
//! numbers per row are kept.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, DType, Device, Layout, Result, Shape, Tensor, WithDType, bail};

use super::ops::operation::{Operand, Operation};
use super::record::{self, Work};
use crate::kernel::slices::{read, with};
use crate::kernel::{Element, by_element, cross_entropy as kernel, internal_dtype};

const NAME: &str = "cross-entropy";

/// The mean of `-ln(softmax(logits)[label])` over all labels other than `ignored`, such as the
/// padding of a sequence: a scalar, in f32 for f16 and bf16 logits. `logits` are `[.., classes]`,
/// `labels` integers `[..]`. Only the logits have a gradient.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use freeze_core::nn::cross_entropy;
///
/// let logits = Tensor::new(&[[2f32, 0., 0.], [0., 0., 0.], [9., 9., 9.]], &Cpu)?;
/// let labels = Tensor::new(&[0i64, 2, -100], &Cpu)?;
/// let loss = cross_entropy(&logits, &labels, Some(-100))?.to_scalar::<f32>()?;
/// assert!((loss - (0.2395 + 1.0986) / 2.).abs() < 1e-3);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// Shapes that do not fit, labels that are not integers or neither a class nor ignored, only
/// ignored labels, or logits other than f32, f64, f16 and bf16.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, ignored: Option<i64>) -> Result<Tensor> {
    let classes = match logits.dims() {
        [leading @ .., classes] if leading == labels.dims() => *classes,
        dims => bail!(
            "cross_entropy: logits of shape {dims:?} for labels of shape {:?}; expected one dimension \
             more, the classes",
            labels.dims()
        ),
    };
    let targets = targets(labels, classes, ignored)?;
    let counted = targets.iter().flatten().count();
    if counted == 0 {
        bail!("cross_entropy: of {} labels none counts, so there is no mean", targets.len());
    }
    match logits.device() {
        Device::Cpu => {
            let op = CrossEntropy { targets, counted, rows: OnceLock::new() };
            record::apply([logits], Work::Elements, op)
        }
        _ => compose(logits, &targets, counted),
    }
}

/// The class of every row; `None` for ignored ones.
fn targets(labels: &Tensor, classes: usize, ignored: Option<i64>) -> Result<Vec<Option<u32>>> {
    if !labels.dtype().is_int() {
        bail!(
            "cross_entropy: the labels are {:?}, expected integers; convert them with `to_dtype`",
            labels.dtype()
        );
    }
    let labels = labels.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
    let target = |(row, label): (usize, i64)| match u32::try_from(label) {
        _ if Some(label) == ignored => Ok(None),
        Ok(class) if (class as usize) < classes => Ok(Some(class)),
        _ => bail!(
            "cross_entropy: label {row} is {label}, expected at least 0 and less than {classes}, the classes"
        ),
    };
    labels.into_iter().enumerate().map(target).collect()
}

/// The same in candle's operations, for other devices.
fn compose(logits: &Tensor, targets: &[Option<u32>], counted: usize) -> Result<Tensor> {
    let device = logits.device();
    let wide = logits.to_dtype(internal_dtype(logits.dtype()))?;
    let logs = candle_nn::ops::log_softmax(&wide, D::Minus1)?.reshape((targets.len(), ()))?;
    let rows = (0u32..).zip(targets).filter_map(|(row, &target)| Some((row, target?)));
    let (rows, classes): (Vec<u32>, Vec<u32>) = rows.unzip();
    let logs = logs.index_select(&Tensor::new(rows, device)?, 0)?;
    let classes = Tensor::new(classes, device)?.unsqueeze(1)?;
    logs.gather(&classes, 1)?.sum_all()?.affine(-1. / counted as f64, 0.)
}

struct CrossEntropy {
    targets: Vec<Option<u32>>,
    counted: usize,
    /// For every row the largest logit and the sum of `exp(logit - largest)`: computed by the
    /// forward, used by the backward.
    rows: OnceLock<Vec<[f64; 2]>>,
}

impl Operation<1> for CrossEntropy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, _: [&Layout; 1]) -> Result<Shape> {
        Ok(Shape::from(()))
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        let classes = layout.dims().last().copied().unwrap_or(1);
        by_element!(x.dtype(), NAME, T => {
            let x = read::<T>(x, layout)?;
            let (sum, rows) = kernel::forward(&x, classes, &self.targets);
            // Set once: an operation runs forward once.
            let _ = self.rows.set(rows);
            let loss = <T as Element>::Real::from_f64(sum / self.counted as f64);
            Ok(WithDType::to_cpu_storage_owned(vec![loss]))
        })
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        let share = grad.to_dtype(DType::F64)?.to_scalar::<f64>()? / self.counted as f64;
        let (classes, targets) = (x.dim(D::Minus1)?, &self.targets);
        let rows = self.rows.get().map_or(&[] as &[_], Vec::as_slice);
        by_element!(x.dtype(), NAME, T => {
            let dx = with(x, |x: &[T]| Ok(kernel::backward(x, classes, targets, rows, share)))?;
            Ok([Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    #[test]
    fn the_composition_agrees_with_the_kernel() -> Result<()> {
        let x = Var::randn(0f64, 3.0, (5, 7), &Device::Cpu)?;
        let labels = Tensor::new(&[6i64, 0, -1, 3, 3], &Device::Cpu)?;
        let targets = targets(&labels, 7, Some(-1))?;
        let kernel = cross_entropy(&x, &labels, Some(-1))?;
        let composed = compose(&x, &targets, 4)?;
        let off = (kernel.to_scalar::<f64>()? - composed.to_scalar::<f64>()?).abs();
        assert!(off < 1e-14, "{off:e}");
        let slopes = |loss: Tensor| -> Result<Option<Vec<f64>>> {
            loss.backward()?.get(&x).map(|grad| grad.flatten_all()?.to_vec1()).transpose()
        };
        let (kernel, composed) = (slopes(kernel)?, slopes(composed)?);
        let pairs = kernel.iter().flatten().zip(composed.iter().flatten());
        assert_eq!(pairs.clone().count(), 35);
        assert!(pairs.into_iter().all(|(k, c)| (k - c).abs() < 1e-14));
        Ok(())
    }
}
