//! Small models that each have one fault, or none.

use candle_core::{DType, Device::Cpu, Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, VarBuilder, VarMap, layer_norm, linear};
use freeze_core::{Freezable, Freezer, nn};

pub const WIDTH: usize = 6;

pub fn builder() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu)
}

pub fn randn(shape: impl Into<candle_core::Shape>) -> Tensor {
    Tensor::randn(0f32, 1., shape, &Cpu).expect("a random tensor")
}

/// A batch of four.
pub fn batch() -> Tensor {
    randn((4, WIDTH))
}

pub fn freezer<M: Freezable>(model: Result<M>) -> Freezer<M> {
    Freezer::new(model.expect("a model")).expect("a freezer")
}

/// The mean of the squares of what the model makes of `x`.
pub fn loss<M: Module>(model: &M, x: &Tensor) -> Result<Tensor> {
    model.forward(x)?.sqr()?.mean_all()
}

/// A chain of any layers with a ReLU between them.
#[derive(Freezable)]
pub struct Chain<L: Freezable> {
    pub layers: Vec<L>,
}

pub type Stock = Chain<Linear>;
pub type Lean = Chain<nn::Linear>;

impl<L: Freezable + From<Linear>> Chain<L> {
    pub fn new(depth: usize) -> Result<Self> {
        let vb = builder();
        let layer = |i: usize| Ok(L::from(linear(WIDTH, WIDTH, vb.pp(i))?));
        Ok(Self { layers: (0..depth).map(layer).collect::<Result<_>>()? })
    }
}

impl<L: Freezable + Module> Module for Chain<L> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x)?.relu())
    }
}

/// A normalisation of kind `N` between linear layers.
#[derive(Freezable)]
pub struct Normed<N: Freezable> {
    pub stem: Linear,
    pub body: Linear,
    pub norm: N,
    pub head: Linear,
}

impl<N: Freezable + From<LayerNorm>> Normed<N> {
    pub fn new() -> Result<Self> {
        let vb = builder();
        let part = |name: &str| linear(WIDTH, WIDTH, vb.pp(name));
        let norm = N::from(layer_norm(WIDTH, 1e-5, vb.pp("norm"))?);
        Ok(Self { stem: part("stem")?, body: part("body")?, norm, head: part("head")? })
    }
}

impl<N: Freezable + Module> Module for Normed<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.body.forward(&self.stem.forward(x)?.relu()?)?;
        self.head.forward(&self.norm.forward(&x)?)
    }
}
