//! Dropout (Srivastava et al., 2014) with a seeded generator whose state can be saved.

use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, ModuleT, Result, Tensor, WithDType};

use super::ops::nothing::of_nothing;
use super::ops::operation::{Operand, Operation, Reads};
use super::record::{self, Work};
use crate::error::Error;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{dropout, on_card, operand, tensor};
use crate::kernel::pieces::ROWS;
use crate::kernel::slices::{read, with};
use crate::kernel::{self, Drops, Element, by_element};
use crate::model::{BatchNormPolicy, DropoutState, Freezable, Generator, Mapper};

const NAME: &str = "dropout";
/// Elements that one generator draws for, a multiple of its own blocks of 16 words.
const BLOCK: usize = 1 << 14;

/// Sets elements to zero with probability `p` while training and scales the rest by `1 / (1 - p)`.
///
/// Unlike `candle_nn::Dropout` it draws from its own generator: a run can be repeated from a seed,
/// on any number of threads and on any device, and resumed from a saved [`state`](Self::state).
/// Clones and views share the generator. In a struct whose leaves are all frozen it is off under
/// [`BatchNormPolicy::Inference`].
///
/// ```
/// use candle_core::{DType, Device::Cpu, ModuleT, Tensor};
/// use freeze_core::nn::Dropout;
///
/// let dropout = Dropout::new(0.25, 42)?;
/// let state = dropout.state();
/// let x = Tensor::ones((4, 4), DType::F32, &Cpu)?;
/// let first = dropout.forward_t(&x, true)?.to_vec2::<f32>()?;
/// dropout.set_state(state);
/// assert_eq!(dropout.forward_t(&x, true)?.to_vec2::<f32>()?, first);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dropout {
    p: f32,
    generator: Generator,
    training: Training,
}

/// Whether it drops in training; set by the mapper.
#[derive(Clone, Copy, Debug)]
enum Training {
    Drops,
    Passes,
}

impl Dropout {
    /// Drops each element with probability `p`, at least 0 and below 1.
    ///
    /// # Errors
    ///
    /// `p` is outside that range.
    pub fn new(p: f32, seed: u64) -> crate::error::Result<Self> {
        if !(0.0..1.0).contains(&p) {
            let expected = "a probability of at least 0 and below 1";
            return Err(Error::Number { name: "p", value: f64::from(p), expected });
        }
        let generator = Generator::new(DropoutState { seed, position: 0 });
        Ok(Self { p, generator, training: Training::Drops })
    }

    /// The probability with which an element is dropped.
    pub fn p(&self) -> f32 {
        self.p
    }

    /// The state of the generator, as plain data to save.
    pub fn state(&self) -> DropoutState {
        self.generator.state()
    }

    /// Sets the state of the generator, which every clone and view shares.
    pub fn set_state(&self, state: DropoutState) {
        self.generator.set_state(state);
    }

    /// Drops elements of `xs` if `train`, else returns it as it is.
    ///
    /// # Errors
    ///
    /// An element type other than f32, f64, f16 and bf16.
    pub fn forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        if !train || !self.drops() {
            return Ok(xs.clone());
        }
        let len = xs.elem_count();
        let drops = self.draw(len);
        match kernel::on(xs.device()) {
            true => record::apply([xs], Work::Elements, Dropped { drops, mask: OnceLock::new() }),
            false => Mask::draw(drops, len).compose(xs),
        }
    }
}

impl Dropout {
    /// Whether training drops anything.
    pub(super) fn drops(&self) -> bool {
        matches!(self.training, Training::Drops) && self.p > 0.0
    }

    /// The next `len` words of the generator's stream, which count as drawn.
    pub(super) fn draw(&self, len: usize) -> Drops {
        let DropoutState { seed, position } = self.generator.advance(len);
        Drops::new(seed, position, self.p)
    }
}

impl ModuleT for Dropout {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.forward(xs, train)
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for Dropout {
    const LEAVES: crate::model::LeafTree = crate::model::LeafTree::EMPTY;
    const HAS_LEAVES: bool = false;

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.generator(&self.generator);
        let off = mapper.batch_norm() == BatchNormPolicy::Inference && mapper.enclosing_frozen();
        let training = if off { Training::Passes } else { Training::Drops };
        Ok(Self { training, ..self.clone() })
    }
}

/// One byte per element: 1 is kept.
struct Mask {
    keep: Vec<u8>,
    scale: f64,
}

impl Mask {
    fn draw(drops: Drops, len: usize) -> Self {
        let mut keep = vec![0u8; len];
        ROWS.each(len, keep.chunks_mut(BLOCK).enumerate(), |(index, keep)| {
            let kept = drops.kept(index * BLOCK);
            keep.iter_mut().zip(kept).for_each(|(keep, kept)| *keep = u8::from(kept));
        });
        Self { keep, scale: drops.scale }
    }

    /// The elements of `x` that are kept, scaled; zeros for the others.
    fn kept<T: Element>(&self, x: &[T]) -> Vec<T> {
        let scale = T::Real::from_f64(self.scale);
        let mut out = vec![T::from_f64(0.0); x.len()];
        let blocks = x.chunks(BLOCK).zip(self.keep.chunks(BLOCK));
        ROWS.each(
            x.len(),
            out.chunks_mut(BLOCK).zip(blocks),
            #[inline(always)]
            |(out, (x, keep))| {
                for ((out, x), keep) in out.iter_mut().zip(x).zip(keep) {
                    *out = if *keep == 1 { T::down(x.up() * scale) } else { *out };
                }
            },
        );
        out
    }

    fn compose(self, x: &Tensor) -> Result<Tensor> {
        if x.elem_count() == 0 {
            return of_nothing(x);
        }
        let mask = Tensor::from_vec(self.keep, x.shape(), x.device())?;
        x * (mask.to_dtype(x.dtype())? * self.scale)?
    }
}

/// The operation. On the CPU its mask is kept for the backward, on a card it is drawn again.
struct Dropped {
    drops: Drops,
    mask: OnceLock<Mask>,
}

impl Dropped {
    fn mask(&self, len: usize) -> &Mask {
        self.mask.get_or_init(|| Mask::draw(self.drops, len))
    }
}

impl Operation<1> for Dropped {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        by_element!(x.dtype(), NAME, T => {
            let x = read::<T>(x, layout)?;
            Ok(T::to_cpu_storage_owned(self.mask(x.len()).kept(&x)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        dropout::dropped(&x.0.device, &self.drops, operand(x)?)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::NOTHING
    }

    fn gradients(
        &self,
        _: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        #[cfg(feature = "cuda")]
        if grad.device().is_cuda() {
            let dx = on_card([grad], |device, [grad]| dropout::dropped(device, &self.drops, grad))?;
            return Ok([Some(tensor(dx, grad.shape()))]);
        }
        by_element!(grad.dtype(), NAME, T => {
            let mask = self.mask(grad.elem_count());
            let dx = with(grad, |grad: &[T]| Ok(mask.kept(grad)))?;
            Ok([Some(Tensor::from_vec(dx, grad.shape(), &Device::Cpu)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::nn::ops::node::Operands;

    #[test]
    fn the_composition_agrees_with_the_kernel() -> Result<()> {
        let x = candle_core::Var::randn(0f64, 1.0, (30, 7), &Device::Cpu)?;
        let drops = Drops::new(1, 5, 0.3);
        let op = Dropped { drops, mask: OnceLock::new() };
        let kernel = [x.as_tensor()].apply(Arc::new(op))?;
        let composed = Mask::draw(drops, 210).compose(&x)?;
        let rows = |tensor: &Tensor| tensor.to_vec2::<f64>();
        assert_eq!(rows(&kernel)?, rows(&composed)?);
        let grad = |y: Tensor| y.sqr()?.sum_all()?.backward()?.get(&x).map(rows).transpose();
        assert_eq!(grad(kernel)?, grad(composed)?);
        Ok(())
    }

    #[test]
    fn the_number_of_threads_changes_nothing()
    -> std::result::Result<(), rayon::ThreadPoolBuildError> {
        let mut masks = Vec::new();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            masks.push(pool.install(|| Mask::draw(Drops::new(7, 3, 0.5), 100_003).keep));
        }
        assert_eq!(masks[0], masks[1]);
        // All blocks draw from the same stream, however they are divided.
        let tail = Mask::draw(Drops::new(7, 50_003, 0.5), 50_003).keep;
        assert_eq!(masks[0][50_000..], tail);
        Ok(())
    }
}
