//! The cross-entropy of logits and labels: one pass each for forward and backward, and only two
//! numbers per row are kept.

#[cfg(feature = "cuda")]
mod card;
mod op;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::record::{self, Work};
use crate::error::Error;
use crate::kernel::cross_entropy::Shares;
use op::Op;

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
/// ignored labels, or logits other than f32, f64, f16 and bf16. On a CUDA card labels that are no class, and only
/// ignored ones, make the loss NaN: an error would have to wait for the card.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, ignored: Option<i64>) -> Result<Tensor> {
    CrossEntropy { ignored, ..CrossEntropy::new() }.loss(logits, labels)
}

/// The cross-entropy with settings, which are those of PyTorch's `CrossEntropyLoss` and mean the same; the
/// mean is weighted by the classes of the labels that count.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use freeze_core::nn::CrossEntropy;
///
/// let loss = CrossEntropy::new().ignoring(-100).label_smoothing(0.1)?.class_weights(&[1., 2., 1.])?;
/// let logits = Tensor::new(&[[2f32, 0., 0.], [0., 0., 0.]], &Cpu)?;
/// let loss = loss.loss(&logits, &Tensor::new(&[0i64, -100], &Cpu)?)?.to_scalar::<f32>()?;
/// assert!((loss - 0.4475).abs() < 1e-3);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    ignored: Option<i64>,
    smoothing: f64,
    weights: Vec<f64>,
}

impl CrossEntropy {
    /// All labels count, and count the same.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows with this label do not count, such as the padding of a sequence.
    pub fn ignoring(self, label: i64) -> Self {
        Self { ignored: Some(label), ..self }
    }

    /// Takes `share` from the label and spreads it evenly over all classes (Szegedy et al., 2016).
    ///
    /// # Errors
    ///
    /// `share` is not between 0 and 1.
    pub fn label_smoothing(self, share: f64) -> Result<Self> {
        match share {
            0.0..=1.0 => Ok(Self { smoothing: share, ..self }),
            value => {
                let (name, expected) = ("label_smoothing", "a number from 0 to 1");
                Err(Error::Number { name, value, expected }.into())
            }
        }
    }

    /// A weight for each class.
    ///
    /// # Errors
    ///
    /// A weight is negative or not finite, or there is none.
    pub fn class_weights(self, weights: &[f64]) -> Result<Self> {
        if weights.is_empty() {
            bail!("class_weights: expected a weight for each class, found none");
        }
        match weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            None => Ok(Self { weights: weights.to_vec(), ..self }),
            Some(&value) => {
                let (name, expected) = ("class_weights", "numbers of at least 0");
                Err(Error::Number { name, value, expected }.into())
            }
        }
    }

    /// The loss of `logits` `[.., classes]` for `labels`, integers `[..]`: a scalar, of f16 and bf16 logits in
    /// f32. Only the logits have a gradient.
    ///
    /// # Errors
    ///
    /// As [`cross_entropy`]; another number of weights than classes, or labels whose weights are all 0, which on a
    /// CUDA card make the loss NaN.
    pub fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let classes = match logits.dims() {
            [leading @ .., classes] if leading == labels.dims() => *classes,
            dims => bail!(
                "cross_entropy: logits of shape {dims:?} for labels of shape {:?}; expected one dimension \
                 more, the classes",
                labels.dims()
            ),
        };
        if !self.weights.is_empty() && self.weights.len() != classes {
            bail!("cross_entropy: {} class weights for {classes} classes", self.weights.len());
        }
        let labels = whole(labels)?;
        #[cfg(feature = "cuda")]
        if logits.device().is_cuda() {
            return card::loss(logits, &labels, self.ignored, self.smoothing, &self.weights);
        }
        let targets = targets(&labels, classes, self.ignored)?;
        let counted = targets.iter().flatten();
        if counted.clone().next().is_none() {
            bail!("cross_entropy: of {} labels none counts, so there is no mean", targets.len());
        }
        let weight = |class: &u32| self.weights.get(*class as usize).copied().unwrap_or(1.0);
        let total: f64 = counted.map(weight).sum();
        if total == 0.0 {
            bail!("cross_entropy: the classes of all labels weigh 0, so there is no mean");
        }
        let op = Op::new(targets, self.shares(classes), total);
        match logits.device() {
            Device::Cpu => record::apply([logits], Work::Elements, op),
            _ => op.compose(logits),
        }
    }

    /// What is left of each class for the labels, and what is spread over all.
    fn shares(&self, classes: usize) -> Shares {
        let (kept, spread) = (1.0 - self.smoothing, self.smoothing / classes as f64);
        let times = |share: f64| match self.weights.is_empty() {
            true => vec![share; classes],
            false => self.weights.iter().map(|weight| weight * share).collect(),
        };
        let even = self.weights.is_empty() && kept == 1.0;
        let own = if even { Vec::new() } else { times(kept) };
        let all = if spread == 0.0 { Vec::new() } else { times(spread) };
        Shares { own, all }
    }
}

/// The labels in `i64` and in one dimension.
fn whole(labels: &Tensor) -> Result<Tensor> {
    if !labels.dtype().is_int() {
        bail!(
            "cross_entropy: the labels are {:?}, expected integers; convert them with `to_dtype`",
            labels.dtype()
        );
    }
    labels.to_dtype(DType::I64)?.flatten_all()
}

/// The class of every row; `None` for ignored ones.
fn targets(labels: &Tensor, classes: usize, ignored: Option<i64>) -> Result<Vec<Option<u32>>> {
    let labels = labels.to_vec1::<i64>()?;
    let target = |(row, label): (usize, i64)| match u32::try_from(label) {
        _ if Some(label) == ignored => Ok(None),
        Ok(class) if (class as usize) < classes => Ok(Some(class)),
        _ => bail!(
            "cross_entropy: label {row} is {label}, expected at least 0 and less than {classes}, the classes"
        ),
    };
    labels.into_iter().enumerate().map(target).collect()
}
