//! The cross-entropy of logits and labels: one pass each way, and nothing kept but two numbers a row.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor, WithDType, bail,
};

use super::norm::{
    Element, Real, by_dtype, cpu_slice, for_blocks, internal_dtype, rows_per_block, slice, split,
    sum1,
};
use super::{record, softmax};

const NAME: &str = "cross-entropy";

/// The mean of `-ln(softmax(logits)[label])` over all labels but those that are `ignored`, such as the
/// padding of a sequence: a scalar, of f16 and bf16 logits in f32. `logits` are `[.., classes]`,
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
/// Shapes that do not fit, labels that are no integers or neither a class nor ignored, nothing but
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
            record::apply1(&logits.contiguous()?, op)
        }
        _ => compose(logits, &targets, counted),
    }
}

/// The class of every row, if it counts.
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
    /// The largest logit of every row and the sum of the exponentials of all less that one: found by
    /// the forward, used by the backward.
    rows: OnceLock<Vec<[f64; 2]>>,
}

impl CrossEntropy {
    fn forward<T: Element>(&self, x: &[T], classes: usize) -> f64 {
        let block = rows_per_block(classes, 1);
        let blocks = split::<T>(None, block * classes, x.len());
        let found = for_blocks(blocks, x.len(), |index, _| {
            let mut exps = vec![T::Real::ZERO; classes];
            let rows = x[index * block * classes..].chunks_exact(classes);
            let rows = rows.zip(&self.targets[index * block..]).take(block);
            let mut loss = 0.0;
            let rows = rows.map(|(x, target)| {
                let Some(target) = *target else { return [0.0, 1.0] };
                let max = softmax::max(x);
                for (exp, x) in exps.iter_mut().zip(x) {
                    *exp = (x.up() - max).exp_of_negative();
                }
                let [sum] = sum1(&exps, |exp| [exp]);
                loss += sum.ln() + max.to_f64() - x[target as usize].to_f64();
                [max.to_f64(), sum]
            });
            let rows: Vec<_> = rows.collect();
            (loss, rows)
        });
        let (losses, rows): (Vec<f64>, Vec<Vec<_>>) = found.into_iter().unzip();
        // Set once: an operation runs forward once.
        let _ = self.rows.set(rows.concat());
        losses.into_iter().sum::<f64>() / self.counted as f64
    }

    /// `(softmax - 1 at the label) * grad / counted`; 0 for what is ignored.
    fn backward<T: Element>(&self, x: &[T], classes: usize, grad: f64) -> Vec<T> {
        let share = grad / self.counted as f64;
        let rows = self.rows.get().map_or(&[] as &[_], Vec::as_slice);
        let block = rows_per_block(classes, 1);
        let mut dx = vec![T::from_f64(0.0); x.len()];
        for_blocks(split(Some(&mut dx), block * classes, x.len()), x.len(), |index, dx| {
            let logits = x[index * block * classes..].chunks_exact(classes);
            let rows = self.targets[index * block..].iter().zip(&rows[index * block..]);
            let each = dx.chunks_exact_mut(classes).zip(logits).zip(rows);
            for ((dx, x), (target, &[max, sum])) in each {
                let Some(target) = *target else { continue };
                let [max, scale] = [max, share / sum].map(T::Real::from_f64);
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = T::down((x.up() - max).exp_of_negative() * scale);
                }
                let target = target as usize;
                let exp = (x[target].up() - max).exp_of_negative().to_f64();
                dx[target] = T::from_f64(share * (exp / sum - 1.0));
            }
        });
        dx
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let classes = layout.dims().last().copied().unwrap_or(1);
        by_dtype!(candle_core::backend::BackendStorage::dtype(x), NAME, T => {
            let loss = self.forward::<T>(slice(x, layout)?, classes);
            let loss = vec![<T as Element>::Real::from_f64(loss)];
            Ok((<T as Element>::Real::to_cpu_storage_owned(loss), Shape::from(())))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let classes = x.dim(D::Minus1)?;
        by_dtype!(x.dtype(), NAME, T => {
            let dx = {
                let (storage, layout) = x.storage_and_layout();
                self.backward::<T>(cpu_slice(&storage, layout)?, classes, grad)
            };
            Ok(Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?))
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
