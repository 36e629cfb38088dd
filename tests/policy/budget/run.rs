//! Budgets in real runs: what does not train has no gradient, no state, and keeps its bits.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW, VarBuilder};
use freeze_core::forecast::{Calibration, calibrate};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear, ops::relu};
use freeze_core::optim::AdamW;
use freeze_core::policy::{Budget, BudgetSettings, By, Needs, Observation, Seen, Settings};
use freeze_core::{Elapsed, Freezable, Freezer, LayerFreezing, Policy, backward};

use super::rig::{bytes, trained};

const STEPS: usize = 24;

#[derive(Freezable)]
struct Net {
    layers: Vec<Linear>,
}

impl Net {
    fn new() -> Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(3, DType::F32, &Device::Cpu);
        let widths = [6, 16, 12, 8, 3];
        let layer = |(i, pair): (usize, &[usize])| linear(pair[0], pair[1], vb.pp(i));
        Ok(Self { layers: widths.windows(2).enumerate().map(layer).collect::<Result<_>>()? })
    }

    fn loss(&self) -> Result<Tensor> {
        let xs: Vec<f32> = (0..60).map(|i| (i * 37 % 23) as f32 / 11.0 - 1.0).collect();
        let xs = Tensor::from_vec(xs, (10, 6), &Device::Cpu)?;
        let ys = self.layers.iter().try_fold(xs, |xs, layer| relu(&layer.forward(&xs)?))?;
        (ys - 0.5)?.sqr()?.mean_all()
    }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers")
}

/// -sum(g * dw) of each variable that has a gradient, and the weights to compare with next.
fn drops(
    net: &Freezer<Net>,
    grads: &GradStore,
    before: &mut [Option<Vec<f32>>],
    at: Elapsed,
) -> Observation {
    let mut seen = Observation::after_step(at, 1.0);
    for (index, var) in net.vars().iter().enumerate() {
        let (now, leaf) = (numbers(var), index / 2);
        if let (Some(grad), Some(last)) = (grads.get(var), &before[index]) {
            let moved = now.iter().zip(last).map(|(now, last)| f64::from(now - last));
            let drop: f64 = moved.zip(numbers(grad)).map(|(dw, g)| -dw * f64::from(g)).sum();
            seen =
                seen.tensor(Seen::new(leaf, format!("layers.{leaf}"), now.len()).loss_drop(drop));
        }
        before[index] = Some(now);
    }
    seen
}

struct Run {
    net: Freezer<Net>,
    opt: AdamW,
    hook: LayerFreezing<Budget>,
    before: Vec<Option<Vec<f32>>>,
}

impl Run {
    fn new(settings: impl FnOnce(&Calibration, &Freezer<Net>) -> BudgetSettings) -> Self {
        let net = Freezer::new(Net::new().expect("a model")).expect("a freezer");
        let costs = calibrate(&net, Net::loss).expect("costs");
        let settings = settings(&costs, &net);
        let params = ParamsAdamW { lr: 0.01, ..Default::default() };
        let mut run = Self {
            opt: AdamW::new(net.vars(), params).expect("an optimizer"),
            before: vec![None; net.vars().len()],
            net,
            hook: settings.policy().expect("a policy").calibrated(costs).into(),
        };
        let start = run.at(0);
        let begun = run.hook.begin(&mut run.net, &mut [&mut run.opt], start);
        assert!(begun.expect("a plan").is_some());
        run
    }

    fn at(&self, step: usize) -> Elapsed {
        Elapsed::new(0, 1).at_step(step, STEPS)
    }

    /// The step after `step`, and which of its variables had a gradient.
    fn step(&mut self, step: usize) -> Vec<bool> {
        let needed = self.hook.policy().needs(self.at(step));
        let grads = backward(&self.net.loss().expect("a loss")).expect("gradients");
        self.opt.step(&grads).expect("an update");
        let after = self.at(step + 1);
        if needed.contains(Needs::LOSS_DROP) {
            let seen = drops(&self.net, &grads, &mut self.before, after);
            self.hook.policy_mut().observe(&seen).expect("numbers");
        }
        let vars: Vec<Var> = self.net.vars();
        let had = vars.iter().map(|var| grads.get(var).is_some()).collect();
        self.hook.step_end(&mut self.net, &mut [&mut self.opt], after).expect("a plan");
        had
    }
}

#[test]
fn what_is_not_chosen_has_no_gradient_no_state_and_the_same_bits() {
    let mut most = 0;
    let mut run = Run::new(|costs, net| {
        let full = costs.forecast(net.plan()).expect("a forecast");
        most = bytes(&full) * 6 / 10;
        BudgetSettings { time: None, bytes: Some(most), every: 1.0, ..Default::default() }
    });
    let mut held = 0;
    for step in 0..STEPS {
        let trains = trained(run.net.plan());
        let bits: Vec<Vec<f32>> = run.net.vars().iter().map(|var| numbers(var)).collect();
        let had = run.step(step);
        for (index, (var, before)) in run.net.vars().iter().zip(bits).enumerate() {
            let is_trained = trains.contains(&(index / 2));
            assert_eq!(had[index], is_trained, "step {step}, variable {index}");
            assert_eq!(numbers(var) != before, is_trained, "step {step}, variable {index}");
        }
        if trained(run.net.plan()) == trains {
            // State is of what trains, and everything together within the limit.
            let vars = run.net.vars();
            let trained = trains.iter().flat_map(|leaf| [2 * leaf, 2 * leaf + 1]);
            let elements: usize = trained.map(|index| vars[index].elem_count()).sum();
            assert_eq!(run.opt.state_bytes(), 2 * 4 * elements, "step {step}");
            held += usize::from(trains.len() < 4);
        }
    }
    assert!(held > STEPS / 2, "{held} steps");
}

#[test]
fn a_share_of_the_time_is_kept_by_the_measured_costs() {
    for by in [By::Leaf, By::Block] {
        let mut forecasts = Vec::new();
        let mut costs = None;
        let mut run = Run::new(|measured, _| {
            costs = Some(measured.clone());
            BudgetSettings { time: Some(0.9), every: 1.0, by, ..Default::default() }
        });
        let costs = costs.expect("costs");
        for step in 0..STEPS {
            run.step(step);
            let forecast = costs.forecast(run.net.plan()).expect("a forecast");
            forecasts.push(forecast.step_ratio.expect("all is measured"));
        }
        // Four steps look, of which the last is followed by the choice.
        assert!(forecasts[..3].iter().all(|share| *share == 1.0), "{forecasts:?}");
        assert!(forecasts[3..].iter().all(|share| *share <= 0.9 + 1e-12), "{forecasts:?}");
    }
}
