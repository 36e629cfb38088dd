//! The epoch hook: reports, metrics, granularity, odd models.

use std::cell::Cell;
use std::rc::Rc;

use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, SGD};
use freeze_core::optim::PerParam;
use freeze_core::{
    Elapsed, Freezable, Freezer, LayerFreezing, LeafTree, Mapper, PlanOptimizer, Result,
    freeze_layers,
};

use crate::support::{Mlp, randn};

fn adamw(net: &Freezer<Mlp>) -> PerParam<AdamW> {
    PerParam::new(net.vars(), ParamsAdamW::default()).expect("an optimizer")
}

#[test]
fn reports_what_an_epoch_released() {
    let mut net = Freezer::new(Mlp::new(5, 4).expect("a model")).expect("a freezer");
    let mut opt = adamw(&net);
    let mut metrics = Vec::new();
    let mut hook = LayerFreezing::new(0.0, 1.0).expect("a hook").with_sink(
        |name: &str, value, at: Elapsed| {
            metrics.push((name.to_string(), value, at.epoch));
        },
    );
    let leaf = 4 * 4 + 4;
    for (epoch, depth, frozen) in
        [(1, 1, vec!["layers.0"]), (2, 2, vec!["layers.1"]), (4, 4, vec!["layers.2", "layers.3"])]
    {
        let report =
            hook.epoch_end(&mut net, &mut [&mut opt], Elapsed::new(epoch, 4)).expect("a report");
        assert_eq!((report.depth(), report.percentage()), (depth, epoch as f64 / 4.0));
        assert_eq!(report.change.frozen, frozen);
        assert_eq!(report.change.parameters_released, leaf * frozen.len());
        assert_eq!(report.change.gradient_bytes_released, 4 * leaf * frozen.len());
        assert_eq!(report.change.state_bytes_released, Some(8 * leaf * frozen.len()));
        assert_eq!(report.change.parameters_trained, leaf * (5 - depth));
    }
    let names = ["layer_freezing/layers_frozen", "layer_freezing/percentage_frozen"];
    let expected: Vec<(String, f64, usize)> = [(1.0, 0.25, 1), (2.0, 0.5, 2), (4.0, 1.0, 4)]
        .into_iter()
        .flat_map(|(layers, share, epoch)| {
            [(names[0].to_string(), layers, epoch), (names[1].to_string(), share, epoch)]
        })
        .collect();
    assert_eq!(metrics, expected);
}

#[test]
fn acts_between_steps_when_asked() {
    let mut net = Freezer::new(Mlp::new(5, 2).expect("a model")).expect("a freezer");
    let mut opt = adamw(&net);
    let depths = |hook: &mut LayerFreezing, net: &mut Freezer<Mlp>, opt: &mut PerParam<AdamW>| {
        let step = |step: usize| {
            let elapsed = Elapsed::new(0, 1).at_step(step, 20);
            let report = hook.step_end(net, &mut [opt], elapsed).expect("a report");
            report.map(|report| (step, report.depth()))
        };
        (1..=20).filter_map(step).collect::<Vec<_>>()
    };
    let mut by_epoch = LayerFreezing::new(0.0, 1.0).expect("a hook");
    assert_eq!(depths(&mut by_epoch, &mut net, &mut opt), []);
    let mut by_step = LayerFreezing::new(0.0, 1.0).and_then(|h| h.every_steps(5)).expect("a hook");
    assert_eq!(depths(&mut by_step, &mut net, &mut opt), [(5, 1), (10, 2), (15, 3), (20, 4)]);
    assert!(LayerFreezing::new(0.0, 1.0).and_then(|h| h.every_steps(0)).is_err());
}

/// No step is completed yet: 0 is a multiple of every number, and nothing is to be done.
#[test]
fn nothing_is_done_before_the_first_step() {
    let mut net = Freezer::new(Mlp::new(5, 2).expect("a model")).expect("a freezer");
    let mut recorded = 0;
    let hook = LayerFreezing::new(0.0, 1.0).and_then(|hook| hook.every_steps(1));
    let mut hook = hook.expect("a hook").with_sink(|_: &str, _, _: Elapsed| recorded += 1);
    for (step, acts) in [(0, false), (1, true)] {
        let elapsed = Elapsed::new(0, 1).at_step(step, 20);
        let report = hook.step_end(&mut net, &mut [], elapsed).expect("a report");
        assert_eq!(report.is_some(), acts, "after {step} steps");
    }
    drop(hook);
    assert_eq!(recorded, 2, "both metrics of the one step");
}

#[test]
fn odd_numbers_are_refused_or_work() {
    let (nan, inf, tiny) = (f64::NAN, f64::INFINITY, f64::MIN_POSITIVE);
    let rows: [(f64, f64, bool); 13] = [
        (0.0, 0.0, true),
        (-0.0, 1.0, true),
        (tiny, tiny, true),
        (1.0 - f64::EPSILON, 1.0, true),
        (1.0, 1.0, false),
        (-tiny, 1.0, false),
        (-1.0, 1.0, false),
        (1e300, 1.0, false),
        (0.0, 1.0 + f64::EPSILON, false),
        (0.0, -1e-300, false),
        (nan, 1.0, false),
        (0.0, nan, false),
        (0.0, inf, false),
    ];
    for (start, level, fits) in rows {
        let hook = LayerFreezing::new(start, level);
        assert_eq!(hook.is_ok(), fits, "{start} {level}");
        let Ok(mut hook) = hook else { continue };
        let mut net = Freezer::new(Mlp::new(5, 2).expect("a model")).expect("a freezer");
        for epoch in [0, 1] {
            let report = hook.epoch_end(&mut net, &mut [], Elapsed::new(epoch, 1));
            let report = report.expect("a report");
            assert!(report.percentage().is_finite() && report.depth() < 5, "{start} {level}");
        }
    }
    for (every, fits) in [(0, false), (1, true), (usize::MAX, true)] {
        let hook = LayerFreezing::new(0.0, 1.0).and_then(|hook| hook.every_steps(every));
        assert_eq!(hook.is_ok(), fits, "{every}");
    }
}

#[test]
fn the_functional_form_is_the_hook() {
    for duration in [0.0, 0.3, 0.5, 0.77, 1.0] {
        let mut net = Freezer::new(Mlp::new(6, 2).expect("a model")).expect("a freezer");
        let mut opt = adamw(&net);
        let (depth, share) =
            freeze_layers(&mut net, &mut [&mut opt], duration, 0.2, 0.9).expect("frozen");
        assert_eq!(net.plan().frozen_leaves(), depth);
        assert_eq!(opt.trained_vars(), 2 * (6 - depth));
        let at = freeze_core::policy::Linear::new(0.2, 0.9).and_then(|s| s.at(duration, 6));
        assert_eq!((depth, share), at.expect("valid"));
    }
    let mut net = Freezer::new(Mlp::new(6, 2).expect("a model")).expect("a freezer");
    for (duration, start, level) in [(1.5, 0.0, 1.0), (0.5, 1.0, 1.0), (0.5, 0.0, f64::NAN)] {
        assert!(freeze_layers(&mut net, &mut [], duration, start, level).is_err());
        assert_eq!(net.plan().frozen_leaves(), 0);
    }
}

#[test]
fn what_was_set_by_hand_outlives_the_schedule() {
    let mut net = Freezer::new(Mlp::new(5, 2).expect("a model")).expect("a freezer");
    let mut opt = adamw(&net);
    let mut plan = net.plan().clone();
    plan.freeze("layers.2").and_then(|p| p.train("layers.4", 0.5)).expect("a plan");
    net.apply(&plan, &mut [&mut opt]).expect("applied");
    let mut hook = LayerFreezing::new(0.0, 0.5).expect("a hook");
    for epoch in 1..=4 {
        hook.epoch_end(&mut net, &mut [&mut opt], Elapsed::new(epoch, 4)).expect("a report");
    }
    let mut expected = plan.clone();
    expected.freeze("layers.[01]").expect("a plan");
    assert_eq!((net.plan(), net.base()), (&expected, &plan));
}

/// A leaf that counts how often it is mapped.
struct Counted(Rc<Cell<usize>>, Linear);

impl Freezable for Counted {
    const LEAVES: LeafTree = LeafTree::leaf("Counted");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.0.set(self.0.get() + 1);
        Ok(Self(self.0.clone(), self.1.map_params(mapper)?))
    }
}

#[test]
fn the_cost_is_linear_in_the_number_of_layers() {
    let maps = |depth: usize| {
        let count = Rc::new(Cell::new(0));
        let layer = |_| Counted(count.clone(), Linear::new(randn((1, 1)), None));
        let model: Vec<Counted> = (0..depth).map(layer).collect();
        let mut net = Freezer::new(model).expect("a freezer");
        let mut sgd = SGD::new(net.vars(), 0.1).expect("an optimizer");
        count.set(0);
        freeze_layers(&mut net, &mut [&mut sgd], 1.0, 0.0, 1.0).expect("frozen");
        count.get()
    };
    assert_eq!(maps(100), 100, "each layer is mapped once for a new view");
    assert_eq!(maps(800), 800);
}

#[test]
fn models_without_anything_to_freeze_are_no_trouble() {
    let empty: Vec<Linear> = Vec::new();
    let plain = vec![Linear::new(randn((2, 2)), None), Linear::new(randn((2, 2)), None)];
    let one = Mlp::new(1, 2).expect("a model").layers;
    for (what, model, depth, trained) in
        [("empty", empty, 0, 0), ("plain", plain, 1, 0), ("one", one, 0, 6)]
    {
        let mut net = Freezer::new(model).expect(what);
        let mut opt = PerParam::<AdamW>::new(net.vars(), ParamsAdamW::default()).expect(what);
        let opts: &mut [&mut dyn PlanOptimizer] = &mut [&mut opt];
        let mut hook = LayerFreezing::new(0.0, 1.0).expect(what);
        let report = hook.epoch_end(&mut net, opts, Elapsed::new(1, 1)).expect(what);
        assert_eq!((report.depth(), report.percentage()), (depth, 1.0), "{what}");
        assert_eq!(report.change.parameters_trained, trained, "{what}");
        assert!(net.summary().expect(what).to_string().contains("leaves"), "{what}");
    }
}
