//! Models and helpers that several tests use.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Embedding, Linear, Module, VarBuilder, VarMap, linear};
use freeze_core::{Decision, Elapsed, Freezable, FreezePlan, Policy};

/// A chain of `Linear(width, width)` with a ReLU after each but the last.
#[derive(Freezable)]
pub struct Mlp {
    pub layers: Vec<Linear>,
}

impl Mlp {
    pub fn new(depth: usize, width: usize) -> Result<Self> {
        let vb = varmap_builder();
        let layer = |i: usize| linear(width, width, vb.pp(i));
        Ok(Self { layers: (0..depth).map(layer).collect::<Result<_>>()? })
    }
}

impl Module for Mlp {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let last = self.layers.len().saturating_sub(1);
        self.layers.iter().enumerate().try_fold(xs.clone(), |xs, (i, layer)| {
            let ys = layer.forward(&xs)?;
            // Has a slope everywhere, whatever weights are drawn.
            if i == last { Ok(ys) } else { ys.tanh() }
        })
    }
}

/// A builder over fresh variables.
pub fn varmap_builder() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu)
}

/// Standard normal numbers.
pub fn randn(shape: impl Into<candle_core::Shape>) -> Tensor {
    Tensor::randn(0f32, 1., shape, &Device::Cpu).expect("a random tensor")
}

/// The tensor's bytes, for comparison bit for bit.
pub fn bits(tensor: &Tensor) -> Vec<u64> {
    let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)).expect("a flat tensor");
    flat.to_vec1::<f64>().expect("numbers").into_iter().map(f64::to_bits).collect()
}

/// Full names of the parameters of `model` that have a gradient in `grads`.
pub fn with_gradient<M: Freezable>(model: &M, grads: &GradStore) -> Vec<String> {
    let vars = model.named_vars().expect("named variables");
    vars.into_iter().filter(|(_, var)| grads.get(var).is_some()).map(|(name, _)| name).collect()
}

/// The number of nodes that a backward pass from `loss` visits.
pub fn graph_nodes(loss: &Tensor) -> usize {
    loss.sorted_nodes().len()
}

/// The mean of the squares: a loss that every output reaches.
pub fn square_loss(ys: &Tensor) -> Result<Tensor> {
    ys.sqr()?.mean_all()
}

/// A table and an output layer that share one weight [5, 3], a layer between them.
#[derive(Freezable)]
pub struct Tied {
    pub embed: Embedding,
    pub body: Linear,
    pub head: Linear,
}

impl Tied {
    pub fn new() -> Result<Self> {
        let table = Var::from_tensor(&randn((5, 3)))?.into_inner();
        let body = Linear::new(Var::from_tensor(&randn((3, 3)))?.into_inner(), None);
        let embed = Embedding::new(table.clone(), 3);
        Ok(Self { embed, body, head: Linear::new(table, None) })
    }
}

/// Freezes one more leaf each time, and remembers how often it was asked.
pub struct OneMore {
    pub asked: u64,
    most: usize,
}

impl OneMore {
    /// Never more than `most` leaves.
    pub fn up_to(most: usize) -> Self {
        Self { asked: 0, most }
    }
}

impl Policy for OneMore {
    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> freeze_core::Result<Decision> {
        self.asked += 1;
        let (mut plan, depth) = (base.clone(), self.most.min(self.asked as usize));
        plan.freeze_front(depth)?;
        Ok(Decision::new(plan))
    }

    fn describe(&self) -> String {
        "one_more".into()
    }

    fn state(&self) -> serde_json::Value {
        self.asked.into()
    }

    fn load_state(&mut self, state: &serde_json::Value) -> freeze_core::Result<()> {
        self.asked = state.as_u64().unwrap_or_default();
        Ok(())
    }
}
