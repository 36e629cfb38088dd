//! Running statistics under a plan: there is one set of them, the whole model's.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, ModuleT, Optimizer, VarBuilder, linear};
use freeze_core::checkpoint::{load_weights, save_weights};
use freeze_core::optim::{ParamsSgd, Sgd};
use freeze_core::{BatchNormPolicy, Freezable, Freezer, Rebuilt, nn};

use crate::support::{bits, randn, square_loss, varmap_builder};

/// A batch norm of any make.
trait Norm: Freezable {
    fn build(vb: VarBuilder<'_>) -> freeze_core::Result<Self>;
    fn run(&self, xs: &Tensor, train: bool) -> Result<Tensor>;
}

macro_rules! norm {
    ($($layer:ty: $build:expr;)+) => {$(
        impl Norm for $layer {
            fn build(vb: VarBuilder<'_>) -> freeze_core::Result<Self> {
                $build(vb)
            }

            fn run(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
                self.forward_t(xs, train)
            }
        }
    )+};
}

norm! {
    candle_nn::BatchNorm: |vb| Ok(candle_nn::batch_norm(4, 1e-5, vb)?);
    nn::BatchNorm: |vb| Ok(nn::batch_norm(4, 1e-5, vb)?);
    Rebuilt<candle_nn::BatchNorm>: |vb| Rebuilt::new(vb, |vb| candle_nn::batch_norm(4, 1e-5, vb));
}

#[derive(Freezable)]
struct Net<N> {
    stem: Linear,
    norm: N,
    head: Linear,
}

impl<N: Norm> Net<N> {
    fn new() -> freeze_core::Result<Self> {
        let vb = varmap_builder();
        let (stem, head) = (linear(3, 4, vb.pp("stem"))?, linear(4, 2, vb.pp("head"))?);
        Ok(Self { stem, norm: N::build(vb.pp("norm"))?, head })
    }

    fn forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.head.forward(&self.norm.run(&self.stem.forward(xs)?, train)?)
    }

    fn statistics(&self) -> freeze_core::Result<Vec<Vec<u64>>> {
        let tensors = self.named_tensors()?.into_iter();
        Ok(tensors.filter(|(name, _)| name.contains("running")).map(|(_, t)| bits(&t)).collect())
    }
}

/// Trains behind a frozen front on inputs that drift, and compares what validates through the view
/// with the whole model, the saved one, and statistics that nothing froze.
fn train<N: Norm>(policy: BatchNormPolicy) -> freeze_core::Result<()> {
    let mut net = Freezer::new(Net::<N>::new()?)?;
    let mut opt = Sgd::new(net.vars(), ParamsSgd { lr: 0.1, ..Default::default() })?;
    net.freeze_front(2, &mut [&mut opt])?;
    net.set_batch_norm(policy)?;
    let fresh = net.statistics()?;
    // The front never changes, so its inputs to the norm are these.
    let apart: N = Freezer::new(Net::<N>::new()?)?.into_whole().norm;
    for step in 0..20 {
        let xs = (randn((8, 3)) + step as f64 / 4.0)?;
        opt.backward_step(&square_loss(&net.forward(&xs, true)?)?)?;
        apart.run(&net.whole().stem.forward(&xs)?, true)?;
    }
    let moved = net.whole().statistics()?;
    match policy {
        BatchNormPolicy::AsCaller => {
            let apart = apart.named_tensors()?;
            let apart = apart.iter().filter(|(name, _)| name.contains("running"));
            assert_eq!(moved, apart.map(|(_, t)| bits(t)).collect::<Vec<_>>(), "as if not frozen");
        }
        BatchNormPolicy::Inference => assert_eq!(moved, fresh, "none moves"),
    }
    assert_eq!(net.statistics()?, moved, "through the view");

    let xs = randn((5, 3));
    let validated = bits(&net.forward(&xs, false)?);
    assert_eq!(bits(&net.whole().forward(&xs, false)?), validated, "the whole model");
    assert_eq!(bits(&net.frozen_view()?.forward(&xs, false)?), validated, "a frozen view");
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["whole", "view", "holder"] {
        let path = dir.path().join(name);
        match name {
            "whole" => save_weights(&path, net.whole())?,
            "view" => save_weights(&path, &*net)?,
            _ => save_weights(&path, &net)?,
        }
        let loaded = load_weights(&path)?;
        let tensors = net.named_tensors()?;
        assert_eq!(loaded.len(), tensors.len(), "{name}");
        for (field, tensor) in &tensors {
            assert_eq!(bits(&loaded[field]), bits(tensor), "{field} of the saved {name}");
        }
        let vb = VarBuilder::from_tensors(loaded, DType::F32, &Device::Cpu);
        let (stem, head) = (linear(3, 4, vb.pp("stem"))?, linear(4, 2, vb.pp("head"))?);
        let again = Net { stem, norm: N::build(vb.pp("norm"))?, head };
        assert_eq!(bits(&again.forward(&xs, false)?), validated, "loaded from the saved {name}");
    }
    // The next plan throws nothing away.
    net.thaw(&mut [&mut opt])?;
    assert_eq!(net.statistics()?, moved, "after the next plan");
    assert_eq!(bits(&net.forward(&xs, false)?), validated, "after the next plan");
    Ok(())
}

#[test]
fn what_validates_is_what_is_saved() -> freeze_core::Result<()> {
    train::<candle_nn::BatchNorm>(BatchNormPolicy::AsCaller)?;
    train::<Rebuilt<candle_nn::BatchNorm>>(BatchNormPolicy::AsCaller)?;
    train::<nn::BatchNorm>(BatchNormPolicy::AsCaller)?;
    train::<nn::BatchNorm>(BatchNormPolicy::Inference)
}
