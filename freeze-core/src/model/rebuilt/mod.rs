//! Layers and whole models that hide their tensors: the tensors are recorded while the constructor
//! runs, and it runs again with other tensors.

mod record;
mod replay;
mod verify;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::{Module, VarBuilder};

use crate::error::{Error, Result};
use crate::model::{BatchNormPolicy, Freezable, LeafTree, Mapper};
use replay::{Build, Recording, replay};

/// Any layer or whole model that is built from a [`VarBuilder`] and gives no access to its tensors:
/// `GroupNorm`, `LSTM`, `GRU`, a model of candle-transformers.
///
/// The constructor runs once with the builder while the tensors it asks for are recorded, and
/// again, over the recorded or replaced tensors, for the layer itself and for each view; queries
/// about the model do not run it. It must therefore ask for the same names every time, build the
/// same layer from them, and have no side effects. Constants that it draws at random, such as
/// Fourier features, would be different in each view. A weight that it computes from others, as for
/// weight normalisation, would keep the value that it had then, whatever training does to those:
/// compute it in the forward. [`verified`](Self::verified) checks all this.
/// Settings changed later through `DerefMut` are not in the views; make them in the constructor.
/// Derefs to the layer.
///
/// A leaf is the group of tensors under one prefix, in the order in which the constructor asked for
/// them: in a BERT, `encoder.layer.0.attention.self.query` is one. A layer whose tensors have no
/// prefix, such as `GroupNorm`, is one leaf at the field's own path. Tensors called `running_mean`
/// and `running_var` are running statistics: variables that all views share, because candle's batch
/// norm updates them. A forward other than candle's should compute with them detached, or it
/// records a graph for them.
///
/// Limit: for the constructor, `VarBuilder::root` is the builder it is given. One that climbs to the
/// true root (candle-transformers' debertav2 does) must be given a builder without a prefix.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{GroupNorm, Linear, VarBuilder, VarMap, group_norm, linear};
/// use freeze_core::{Freezable, Rebuilt};
///
/// #[derive(Freezable)]
/// struct Net {
///     norm: Rebuilt<GroupNorm>,
///     head: Linear,
/// }
///
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
/// let net = Net {
///     norm: Rebuilt::new(vb.pp("norm"), |vb| group_norm(2, 4, 1e-5, vb))?,
///     head: linear(4, 2, vb.pp("head"))?,
/// };
/// let paths: Vec<String> = net.leaves()?.into_iter().map(|leaf| leaf.path).collect();
/// assert_eq!(paths, ["norm", "head"]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Rebuilt<L> {
    layer: L,
    build: Arc<Build<L>>,
    recording: Arc<Recording>,
}

impl<L> Rebuilt<L> {
    /// Builds the layer from `vb` and keeps the constructor. Tensors called `running_mean` or
    /// `running_var` are running statistics.
    ///
    /// The recording run is on a separate thread, so that `vb` may borrow.
    ///
    /// # Errors
    ///
    /// The constructor failed, or did not ask for the same names a second time.
    pub fn new(
        vb: VarBuilder<'_>,
        build: impl Fn(VarBuilder<'static>) -> candle_core::Result<L> + Send + Sync + 'static,
    ) -> Result<Self> {
        let running = |name: &str| {
            let last = name.rsplit('.').next();
            matches!(last, Some("running_mean" | "running_var"))
        };
        Self::with_buffers(vb, running, build)
    }

    /// As [`new`](Self::new), with `is_buffer` deciding by the name, relative to `vb`, which tensors
    /// are running statistics.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_buffers(
        vb: VarBuilder<'_>,
        is_buffer: impl Fn(&str) -> bool,
        build: impl Fn(VarBuilder<'static>) -> candle_core::Result<L> + Send + Sync + 'static,
    ) -> Result<Self> {
        let build: Arc<Build<L>> = Arc::new(build);
        let recording = Arc::new(record::record(&vb, is_buffer, build.as_ref())?);
        Ok(Self { layer: replay(&recording, build.as_ref())?, build, recording })
    }
}

impl<L> Rebuilt<L> {
    /// Builds the layer once more and compares the results of `forward` on both, which must depend
    /// on the layer alone; then builds it over copies of its tensors, moves these a little in place
    /// and compares with the layer that the constructor builds from what they are now.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Tensor};
    /// # use candle_nn::{Module, VarBuilder, VarMap, group_norm};
    /// # use freeze_core::Rebuilt;
    /// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// let xs = Tensor::randn(0f32, 1., (2, 4, 3), &Device::Cpu)?;
    /// let norm = Rebuilt::new(vb, |vb| group_norm(2, 4, 1e-5, vb))?;
    /// let norm = norm.verified(|norm| norm.forward(&xs))?;
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The outputs differ in a bit or a shape, or `forward` failed.
    pub fn verified(self, forward: impl Fn(&L) -> candle_core::Result<Tensor>) -> Result<Self> {
        match verify::fault(&self.layer, &self.recording, self.build.as_ref(), forward)? {
            None => Ok(self),
            Some(why) => {
                let (path, kind) = (String::new(), short_name::<L>());
                Err(Error::Rebuild { path, kind, why: why.to_string() })
            }
        }
    }
}

#[diagnostic::do_not_recommend]
impl<L> Freezable for Rebuilt<L> {
    const LEAVES: LeafTree = LeafTree::open("Rebuilt", || LeafTree::EMPTY);

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        let mut tensors: Vec<Tensor> =
            self.recording.tensors.iter().map(|named| named.tensor.clone()).collect();
        self.walk(mapper, &mut |index, tensor| tensors[index] = tensor)?;
        let recording = Arc::new(self.recording.with_tensors(tensors));
        let layer = replay(&recording, self.build.as_ref())?;
        Ok(Self { layer, build: self.build.clone(), recording })
    }

    fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
        self.walk(mapper, &mut |_, _| {})
    }
}

impl<L> Rebuilt<L> {
    /// Passes each tensor to `mapper`, those of one prefix as one leaf; `take` gets the replacement
    /// and the index of the recorded tensor.
    fn walk(&self, mapper: &mut Mapper<'_>, take: &mut dyn FnMut(usize, Tensor)) -> Result<()> {
        for (prefix, members) in self.recording.groups() {
            let mut group = |mapper: &mut Mapper<'_>| {
                mapper.leaf(short_name::<L>(), |mapper| self.group(&members, mapper, take))
            };
            match prefix {
                "" => group(mapper)?,
                prefix => mapper.at(prefix, group)?,
            }
        }
        Ok(())
    }

    fn group(
        &self,
        members: &[usize],
        mapper: &mut Mapper<'_>,
        take: &mut dyn FnMut(usize, Tensor),
    ) -> Result<()> {
        let named = |index: &usize| &self.recording.tensors[*index];
        let inference = mapper.batch_norm() == BatchNormPolicy::Inference;
        if mapper.state().is_frozen() && inference && members.iter().any(|i| named(i).buffer) {
            return Err(Error::Rebuild {
                path: mapper.path().to_string(),
                kind: short_name::<L>(),
                why: "it normalises as its own forward says, not by its statistics; use \
                      `BatchNormPolicy::AsCaller`"
                    .to_string(),
            });
        }
        for index in members {
            let named = named(index);
            let name = named.name.rsplit('.').next().unwrap_or_default();
            let tensor = match named.buffer {
                true => mapper.buffer(name, &named.tensor)?,
                false => mapper.weight(name, &named.tensor)?,
            };
            take(*index, tensor);
        }
        Ok(())
    }
}

/// The type's name without its path and parameters.
fn short_name<L>() -> &'static str {
    let full = std::any::type_name::<L>();
    let end = full.find('<').unwrap_or(full.len());
    full[..end].rsplit("::").next().unwrap_or(full)
}

impl<L> Deref for Rebuilt<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.layer
    }
}

/// For layers whose forward takes `&mut self`.
impl<L> DerefMut for Rebuilt<L> {
    fn deref_mut(&mut self) -> &mut L {
        &mut self.layer
    }
}

impl<L: Module> Module for Rebuilt<L> {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        self.layer.forward(xs)
    }
}

impl<L: fmt::Debug> fmt::Debug for Rebuilt<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rebuilt").field(&self.layer).finish()
    }
}
