//! Plasticity: what becomes of outputs that stop moving.

use candle_core::{Device, Tensor};
use freeze_core::policy::{
    Acts, Moment, Needs, Observation, Output, Plasticity, PlasticitySettings, Settings,
    similarities,
};
use freeze_core::{Elapsed, Error, Policy};

use super::rig::{frozen, matrix, numbered};

const STEPS: usize = 40;

fn settings() -> PlasticitySettings {
    let acts = Acts { epochs: false, steps: 1 };
    let (window, average, refresh) = (2, 1, 1000);
    PlasticitySettings { acts, window, average, refresh, ..Default::default() }
}

/// Three stages of two leaves each. Those in front stop moving at their step, the last never does.
fn outputs(step: usize, stops: [usize; 2]) -> Vec<Output> {
    let moved = |stage: usize, until: usize| {
        let by = matrix(50 + stage as u64, 4, 3) * (step.min(until) as f64 / 400.0);
        (matrix(stage as u64, 4, 3) + by.expect("a product")).expect("a sum")
    };
    let ends = [(2, stops[0]), (4, stops[1]), (6, usize::MAX)];
    ends.into_iter()
        .map(|(leaves, until)| Output { leaves, tensor: moved(leaves, until) })
        .collect()
}

fn at(step: usize) -> Elapsed {
    Elapsed::new(0, 1).at_step(step, STEPS)
}

/// Shows the steps and returns how many leaves are frozen after each.
fn run(policy: &mut Plasticity, steps: std::ops::Range<usize>, stops: [usize; 2]) -> Vec<usize> {
    let base = numbered(6);
    let mut depths = Vec::new();
    for step in steps {
        let seen = match step {
            0 => Observation::at_start(at(0)),
            step => Observation::after_step(at(step), 1.0),
        };
        policy.observe(&seen.outputs(outputs(step, stops))).expect("finite numbers");
        if step > 0 && policy.is_due(at(step), Moment::Step) {
            let plan = policy.decide(at(step), &base).expect("a decision").plan;
            let frozen = frozen(&plan);
            assert_eq!(frozen, (0..frozen.len()).collect::<Vec<_>>());
            depths.push(frozen.len());
        }
    }
    depths
}

#[test]
fn stages_freeze_from_the_front_once_they_are_still() {
    for (stops, expected) in [([usize::MAX; 2], 0), ([5, usize::MAX], 2), ([5, 9], 4), ([9, 5], 4)]
    {
        let mut policy = settings().policy().expect("settings");
        let depths = run(&mut policy, 0..STEPS, stops);
        let first = depths.iter().position(|depth| *depth > 0);
        assert_eq!(depths.last(), Some(&expected), "{stops:?}: {depths:?}");
        // Still from `stops` on, then quiet for two evaluations.
        assert!(first.is_none_or(|first| first + 1 >= stops[0] + 2), "{stops:?}: {depths:?}");
        assert!(depths.windows(2).all(|pair| pair[0] <= pair[1]), "{depths:?}");
    }
}

#[test]
fn everything_thaws_when_the_rate_drops() {
    let mut by_share =
        PlasticitySettings { unfreeze_at: vec![0.5], ..settings() }.policy().expect("settings");
    let depths = run(&mut by_share, 0..STEPS, [5, 9]);
    assert_eq!((depths[18], depths[19]), (4, 0), "{depths:?}");
    assert_eq!(depths.last(), Some(&4), "and freezes again: {depths:?}");

    let mut by_call = settings().policy().expect("settings");
    assert_eq!(run(&mut by_call, 0..20, [5, 9]).last(), Some(&4));
    by_call.rate_dropped();
    assert!(by_call.is_due(at(19), Moment::Step));
    let plan = by_call.decide(at(19), &numbered(6)).expect("a decision").plan;
    assert!(frozen(&plan).is_empty());
    assert!(!by_call.is_due(at(19), Moment::Step), "said once");
}

#[test]
fn it_looks_once_in_each_epoch() {
    let mut policy = PlasticitySettings::default().policy().expect("settings");
    let mut looked = Vec::new();
    for step in 0..12 {
        let before = Elapsed::new(step / 4, 3).at_step(step, 12);
        if step == 0 {
            assert_eq!(policy.needs(before), Needs::OUTPUTS);
            let start = Observation::at_start(before).outputs(outputs(0, [1, 1]));
            policy.observe(&start).expect("finite numbers");
        }
        if policy.needs(before) == Needs::OUTPUTS {
            looked.push(step + 1);
        }
        // More is shown than was asked for, as for the sake of another policy.
        let seen = Observation::after_step(Elapsed { step: step + 1, ..before }, 1.0);
        policy.observe(&seen.outputs(outputs(step, [1, 1]))).expect("finite numbers");
    }
    assert_eq!(looked, [5, 9]);
}

#[test]
fn another_batch_or_other_stages_are_refused() {
    let few = matrix(1, 3, 3);
    let whole = outputs(1, [1, 1]);
    let one = |tensor: &Tensor| Output { leaves: 2, tensor: tensor.clone() };
    for (wrong, why) in [
        (vec![one(&few)], "other stages"),
        (vec![one(&few), whole[1].clone(), whole[2].clone()], "another size"),
    ] {
        let mut policy = settings().policy().expect("settings");
        run(&mut policy, 0..3, [9, 9]);
        let before = policy.state();
        let refused = policy.observe(&Observation::after_step(at(3), 1.0).outputs(wrong));
        let refused = refused.expect_err(why).to_string();
        assert!(refused.contains(why) && refused.contains("`probe`"), "{refused}");
        assert_eq!(policy.state(), before);
    }
    let empty = Tensor::zeros((0, 3), candle_core::DType::F32, &Device::Cpu).expect("a tensor");
    assert!(matches!(similarities(&empty), Err(Error::Count { name: "samples", .. })));
}
