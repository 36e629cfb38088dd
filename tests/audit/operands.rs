//! Parameters that operations take beside their input, and not as a layer takes its weight: they are seen as well.

use candle_core::{DType, Device::Cpu, Module, Result, Tensor, Var};
use freeze_core::audit::{FrozenWork, Outcome, audit};
use freeze_core::forecast::calibrate;
use freeze_core::{Freezable, FreezePlan, Freezer, nn};

use crate::models::{batch, builder, randn};

const CHANNELS: usize = 3;

/// As in a vision transformer and a residual block: a shift, a scale for each channel, one slope, and a norm whose result
/// goes to a residual.
#[derive(Freezable)]
struct Mixed {
    #[freeze(param)]
    shift: Tensor,
    stem: nn::Linear,
    #[freeze(param)]
    scale: Tensor,
    slope: nn::PReLU,
    norm: nn::BatchNorm,
    head: nn::Linear,
}

impl Mixed {
    fn new() -> Result<Self> {
        let ones = |len: usize| Var::ones(len, DType::F32, &Cpu).map(Var::into_inner);
        let vb = builder();
        Ok(Self {
            shift: ones(6)?,
            stem: nn::linear(6, CHANNELS * 4, vb.pp("stem"))?,
            scale: ones(2)?,
            slope: nn::prelu(None, vb.pp("slope"))?,
            norm: nn::batch_norm(CHANNELS, 1e-5, vb.pp("norm"))?,
            head: nn::linear(2, 1, vb.pp("head"))?,
        })
    }

    fn loss(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(&nn::ops::add(x, &self.shift)?)?;
        let x = nn::ops::mul(&x.reshape(((), CHANNELS, 2, 2))?, &self.scale)?;
        let x = self.slope.forward(&x)?;
        let x = self.norm.forward_add_relu(&x, &randn(x.shape()), false)?;
        self.head.forward(&x)?.sqr()?.mean_all()
    }
}

#[test]
fn a_forecast_knows_every_leaf() {
    let (net, x) = (Freezer::new(Mixed::new().unwrap()).unwrap(), batch());
    let costs = calibrate(&net, |net| net.loss(&x)).unwrap();
    for frozen in ["", "shift", "{shift,stem,scale,slope}"] {
        let mut plan = FreezePlan::all_trained(net.whole()).unwrap();
        if !frozen.is_empty() {
            plan.freeze(frozen).unwrap();
        }
        let forecast = costs.forecast(&plan).unwrap();
        assert_eq!(forecast.unknown, Vec::<String>::new());
        assert!(forecast.step_ratio.is_some(), "{frozen}");
    }
}

#[test]
fn an_audit_sees_the_gradients_that_go_through_frozen_ones() {
    let (mut net, x) = (Freezer::new(Mixed::new().unwrap()).unwrap(), batch());
    let mut plan = FreezePlan::all_trained(net.whole()).unwrap();
    plan.freeze("{shift,scale,slope,norm}").unwrap();
    net.apply(&plan, &mut []).unwrap();
    let audit = audit(&net, |net| net.loss(&x)).unwrap();
    audit.ensure_clean().unwrap();
    for leaf in audit.leaves() {
        let expected = match &*leaf.path {
            "shift" => Some(FrozenWork::None),
            "scale" | "slope" | "norm" => Some(FrozenWork::Input),
            _ => None,
        };
        let found = match leaf.outcome {
            Outcome::Frozen(work) => Some(work),
            _ => None,
        };
        assert_eq!(found, expected, "{}", leaf.path);
    }
}
