//! The time model with given times, and the counts of real models.

use std::time::{Duration, Instant};

use candle_core::{DType, Device::Cpu, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};

use super::costs::{Call, LeafCost, Recording, combine, typical};
use super::*;
use crate::nn::record::{self, Backward, Flops, Part};
use crate::nn::{Conv2d, Conv2dConfig, Embedding, Linear, conv2d, embedding, linear, ops};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Four leaves, each with one call, and a call without weights behind the second.
fn given() -> Calibration {
    let call = |leaf: Option<usize>, [input, weight, both]: [u64; 3]| Call {
        leaves: leaf.into_iter().collect(),
        shown_in: leaf,
        input_tracked: input > 0,
        flops: Flops { forward: 1, input: 10, weight: 100 },
        moved: 0,
        output: 1 << leaf.unwrap_or(8),
        forward: ms(1),
        input: ms(input),
        weight: ms(weight),
        both: ms(both),
    };
    let calls = vec![
        call(Some(0), [0, 5, 5]),
        call(Some(1), [20, 6, 25]),
        call(None, [30, 0, 30]),
        call(Some(2), [40, 7, 46]),
        call(Some(3), [50, 8, 57]),
    ];
    let paths: Vec<String> = (0..4).map(|i| i.to_string()).collect();
    let leaf = |path: &String| LeafCost { path: path.clone(), kind: "Linear", known: true };
    Calibration {
        leaves: paths.iter().map(leaf).collect(),
        calls,
        vars: vec![(100, vec![0]), (200, vec![1]), (300, vec![2]), (400, vec![3])],
        template: FreezePlan::from_paths(paths.into()),
        forward: ms(9),
        head: ms(2),
        update: ms(1000),
        moments: 2,
    }
}

fn plan(costs: &Calibration, frozen: &[usize]) -> FreezePlan {
    let mut plan = costs.template.clone();
    for &leaf in frozen {
        plan.set(leaf, LeafState::Frozen).expect("a leaf");
    }
    plan
}

#[test]
fn a_plan_is_put_together_from_its_parts() {
    let costs = given();
    // Forward and loss, the backward of each call, the update's share.
    let cases: [(&[usize], u64); 6] = [
        (&[], 11 + 5 + 25 + 30 + 46 + 57 + 1000),
        (&[0], 11 + 6 + 30 + 46 + 57 + 900),
        (&[0, 1], 11 + 7 + 57 + 700),
        (&[0, 1, 2], 11 + 8 + 400),
        (&[1, 2], 11 + 5 + 20 + 30 + 40 + 57 + 500),
        (&[0, 1, 2, 3], 9),
    ];
    for (frozen, expected) in cases {
        let plan = plan(&costs, frozen);
        assert_eq!(costs.step_time(plan.states()), ms(expected), "{frozen:?}");
        let ratio = costs.forecast(&plan).expect("a forecast").step_ratio.expect("known");
        assert!((ratio - expected as f64 / 1174.0).abs() < 1e-12, "{frozen:?}");
    }
}

#[test]
fn bytes_and_operations_follow_the_plan() {
    let costs = given();
    let cases: [(&[usize], usize, usize, u64); 4] = [
        (&[], 1000, 1 + 2 + 256 + 4 + 8, 5 + 400 + 40),
        (&[0, 1], 700, 4 + 8, 5 + 200 + 10),
        (&[1, 2], 500, 1 + 2 + 256 + 4 + 8, 5 + 200 + 40),
        (&[0, 1, 2, 3], 0, 0, 5),
    ];
    for (frozen, gradients, kept, flops) in cases {
        let forecast = costs.forecast(&plan(&costs, frozen)).expect("a forecast");
        assert_eq!(forecast.gradient_bytes, gradients, "{frozen:?}");
        assert_eq!(forecast.state_bytes, 2 * gradients);
        assert_eq!(forecast.activation_bytes, kept, "{frozen:?}");
        assert_eq!(forecast.flops, flops, "{frozen:?}");
        let sgd = costs.clone().with_moments(0).forecast(&plan(&costs, frozen));
        assert_eq!(sgd.expect("a forecast").state_bytes, 0);
    }
    let other = FreezePlan::from_paths(vec!["other".to_string()].into());
    assert!(costs.forecast(&other).is_err());
}

#[test]
fn without_a_report_of_the_first_trained_leaf_nothing_is_said() {
    let mut costs = given();
    costs.leaves[1].known = false;
    for (frozen, known) in [(&[][..], true), (&[0], false), (&[0, 1], true), (&[2], true)] {
        let forecast = costs.forecast(&plan(&costs, frozen)).expect("a forecast");
        assert_eq!(forecast.step_ratio.is_some(), known, "{frozen:?}");
        assert_eq!(forecast.unknown, ["1"]);
    }
}

#[test]
fn the_typical_time_is_the_median() {
    let cases: [(&[u64], Option<u64>); 4] =
        [(&[], None), (&[7], Some(7)), (&[9, 1], Some(9)), (&[90, 1, 5], Some(5))];
    for (times, expected) in cases {
        assert_eq!(typical(times.iter().map(|&time| ms(time))), expected.map(ms), "{times:?}");
    }
}

/// A call with an input that is `tracked` and its weights, and what was timed.
fn recorded(tracked: bool, backward: Backward) -> record::Call {
    record::Call {
        weights: Vec::new(),
        input_tracked: tracked,
        weight_tracked: true,
        flops: Flops::default(),
        moved: 0,
        output: 0,
        forward: ms(1),
        backward,
    }
}

#[test]
fn what_candle_does_between_two_calls_is_split() {
    let start = Instant::now();
    let at = |time| start + ms(time);
    let backward = (at(100), at(315));
    let tracked = [false, true, true];
    let round = |part, parts: [Backward; 3]| {
        let calls = tracked.into_iter().zip(parts);
        Recording { part, calls: calls.map(|(t, part)| recorded(t, part)).collect(), backward }
    };
    // The last operation's backward comes first: 7 ms after the loss. Gaps of 5, 90 and 50 ms.
    let whole = || {
        let spans = [(300, 310), (185, 210), (107, 135)];
        round(
            Part::Whole,
            spans.map(|(a, b)| Backward { span: Some((at(a), at(b))), ..Default::default() }),
        )
    };
    // The first call has no input gradient, so that its weights are not timed on their own. What
    // rounds that time parts say about spans does not count.
    let input = || {
        let inputs = [None, Some(10), Some(11)];
        let span = Some((at(100), at(101)));
        let inputs = inputs.map(|t| Backward { input: t.map(ms), span, ..Default::default() });
        round(Part::Input, inputs)
    };
    let weight = |more: u64| {
        let weights = [(None, 3), (Some(20), 50), (Some(21), 4)];
        round(
            Part::Weight,
            weights.map(|(weight, add)| Backward {
                weight: weight.map(|t| ms(t + more)),
                add_weight: Some(ms(add + more)),
                ..Default::default()
            }),
        )
    };
    let rounds = [whole(), input(), weight(500), whole(), input(), weight(0), weight(0)];
    let (calls, head) = combine(&rounds, |_| Vec::new());
    assert_eq!(head, ms(7));
    let times: Vec<_> = calls.iter().map(|call| [call.input, call.weight, call.both]).collect();
    assert_eq!(times[0], [ms(0), ms(10 + 5), ms(10 + 5)]);
    assert_eq!(times[1], [ms(10 + 40), ms(20 + 50), ms(25 + 90)]);
    assert_eq!(times[2], [ms(11 + 46), ms(21 + 4), ms(28 + 50)]);
    assert!(combine(&[], |_| Vec::new()).0.is_empty());
}

#[derive(Debug)]
struct Net {
    table: Embedding,
    conv: Conv2d,
    stock: candle_nn::Linear,
    head: Linear,
}

impl Freezable for Net {
    const LAYOUT: crate::Layout = crate::Layout::EMPTY;

    fn map_params(&self, mapper: &mut crate::Mapper<'_>) -> Result<Self> {
        Ok(Self {
            table: mapper.part("table", &self.table)?,
            conv: mapper.part("conv", &self.conv)?,
            stock: mapper.part("stock", &self.stock)?,
            head: mapper.part("head", &self.head)?,
        })
    }
}

#[test]
fn a_models_operations_and_bytes_are_counted() {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu);
    let net = Net {
        table: embedding(10, 36, vb.pp("table")).expect("a layer"),
        conv: conv2d(1, 3, 3, Conv2dConfig::default(), vb.pp("conv")).expect("a layer"),
        stock: candle_nn::linear(48, 5, vb.pp("stock")).expect("a layer"),
        head: linear(5, 2, vb.pp("head")).expect("a layer"),
    };
    let net = Freezer::new(net).expect("a freezer");
    let ids = Tensor::new(&[1u32, 7], &Cpu).expect("indices");
    let before = net.vars()[0].to_vec2::<f32>().expect("numbers");
    let loss = |net: &Net| {
        let x = net.table.forward(&ids)?.reshape((2, 1, 6, 6))?;
        let x = ops::relu(&net.conv.forward(&x)?)?.flatten_from(1)?;
        net.head.forward(&net.stock.forward(&x)?)?.sqr()?.mean_all()
    };
    let mut steps = 0;
    let costs = calibrate_with_update(&net, loss, |grads| {
        steps += 1;
        net.vars().iter().try_for_each(|var| match grads.get(var) {
            Some(grad) => var.set(&(var.as_tensor() - grad)?),
            None => candle_core::bail!("a gradient is missing"),
        })
    })
    .expect("a calibration");
    assert_eq!(steps, 10);
    assert_eq!(net.vars()[0].to_vec2::<f32>().expect("numbers"), before);

    let forecast = |frozen: &[usize]| costs.forecast(&plan(&costs, frozen)).expect("a forecast");
    let full = forecast(&[]);
    // Two samples: 4 x 4 outputs of 3 channels with 9 taps; 2 outputs of 5 products.
    let (lookup, conv, relu, head) = (72, 2 * 96 * 9, 96, 2 * 4 * 5);
    let (conv_bias, head_bias) = (96, 4);
    let forward = lookup + conv + conv_bias + relu + head + head_bias;
    let backward = lookup + 2 * conv + conv_bias + relu + 2 * head + head_bias;
    assert_eq!(full.flops, forward + backward);
    assert_eq!(full.activation_bytes, 4 * (72 + 96 + 96 + 4));
    let vars = [360, 27 + 3, 240 + 5, 10 + 2];
    assert_eq!(full.gradient_bytes, 4 * vars.iter().sum::<usize>());
    assert_eq!(full.unknown, ["stock"]);
    assert_eq!(full.step_ratio, Some(1.0));

    let half = forecast(&[0]);
    assert_eq!(half.flops, forward + conv + conv_bias + relu + 2 * head + head_bias);
    assert_eq!(half.activation_bytes, 4 * (96 + 96 + 4));
    assert!(half.step_ratio.is_some());
    assert_eq!(forecast(&[0, 1]).step_ratio, None);
    let last = forecast(&[0, 1, 2]);
    assert_eq!((last.gradient_bytes, last.activation_bytes), (4 * 12, 4 * 4));
    assert_eq!(last.flops, forward + head + head_bias);
    assert!(costs.to_string().contains("unknown"));
    // Every part of the backward was timed: no call is without one.
    assert!(costs.calls.iter().all(|call| call.both > Duration::ZERO));
}
