//! Policies that look at gradients and weights decide on the card as on the CPU.

use candle_core::Device;
use candle_nn::ParamsAdamW;
use freeze_core::optim::{AdamW, Momentum, ParamsSgd, Sgd};
use freeze_core::policy::from_text;
use freeze_core::{FreezePlan, LeafState, Training};

use crate::card;
use crate::models::{BATCHES, EPOCHS, Net, loss};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Settings by which each decides something within this short run.
const POLICIES: [&str; 9] = [
    "linear:start=0.2",
    "freeze-out",
    "auto-freeze:windows=2,by=leaf,percentile=100,cap=0.9",
    "grad-es:tau=0.9,alpha=0,patience=1",
    "grad-es:tau=0.3,alpha=0,patience=1,relative=false",
    "ils:rate=0.5",
    "rgn",
    "lisa:every=2,blocks=1",
    "badam:switch-every=2",
];

/// The plan after each step, and the losses.
fn run(policy: &str, device: &Device) -> Result<(Vec<FreezePlan>, Vec<f64>)> {
    let run = Training::new(Net::new(3, device)?)?;
    // The bias in front of the batch norm has a gradient of nothing but rounding, which Adam makes a step of: not for
    // those that look at updates or at one leaf beside another.
    let run = match policy.starts_with("ils") || policy.starts_with("rgn") {
        true => {
            let params =
                ParamsSgd { lr: 0.1, momentum: Momentum::Heavy(0.9), ..Default::default() };
            run.optimizer(|vars| Sgd::with_names(vars, params))?
        }
        false => {
            let params = ParamsAdamW { lr: 0.02, ..Default::default() };
            run.optimizer(|vars| AdamW::with_names(vars, params))?
        }
    };
    let mut run = run.policy(from_text(policy)?).length(EPOCHS, BATCHES)?;
    let (mut plans, mut losses) = (Vec::new(), Vec::new());
    while run.next_epoch()?.is_some() {
        for batch in 0..BATCHES {
            let loss = loss(run.model(), batch, device)?;
            losses.push(run.step(&loss)?.loss);
            plans.push(run.freezer().plan().clone());
        }
        run.epoch_end([])?;
        plans.push(run.freezer().plan().clone());
    }
    Ok((plans, losses))
}

/// The places of two lists of plans where they differ: other leaves train, or their rates are further apart than
/// sums in another order explain.
fn differ(found: &[FreezePlan], expected: &[FreezePlan]) -> Vec<String> {
    let mut places = Vec::new();
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let rate =
            |plan: &FreezePlan, leaf: usize| match plan.state(leaf).unwrap_or(LeafState::Frozen) {
                LeafState::Frozen => 0.0,
                LeafState::Trained { lr_scale } => lr_scale,
            };
        for leaf in 0..expected.len() {
            let (found, expected) = (rate(found, leaf), rate(expected, leaf));
            if (found == 0.0) != (expected == 0.0) || (found - expected).abs() > 1e-4 * expected {
                places.push(format!("plan {step}, leaf {leaf}: {found} instead of {expected}"));
            }
        }
    }
    places
}

#[test]
fn each_decides_something_in_this_run() -> Result {
    for policy in POLICIES {
        let (plans, _) = run(policy, &Device::Cpu)?;
        assert!(plans.windows(2).any(|pair| pair[0] != pair[1]), "{policy}");
    }
    Ok(())
}

#[test]
fn each_decides_as_on_the_cpu() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let mut faults = Vec::new();
    for policy in POLICIES {
        let ((plans, losses), (expected, reference)) =
            (run(policy, &card)?, run(policy, &Device::Cpu)?);
        assert_eq!(plans.len(), expected.len());
        if let Some(first) = differ(&plans, &expected).first() {
            faults.push(format!("{policy}: {first}"));
        }
        let off = losses.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if off.is_nan() || off >= 1e-4 {
            faults.push(format!("{policy}: losses are off by {off:e}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}
