//! The cache and stages that run again in one forward: the run is that with neither.

use candle_core::{Tensor, Var};
use candle_nn::loss::cross_entropy;
use freeze_core::optim::{AdamW, GradClip, ParamsSgd, Sgd};
use freeze_core::{
    ActivationCache, Freezer, LayerFreezing, Recompute, Result, Staged, Training, backward,
};
use proptest::prelude::*;

use super::net::*;

type Run = Training<Net>;

/// Leaves freeze between steps.
fn busy() -> Result<Run> {
    let freezing = LayerFreezing::new(0.1, 0.9)?.every_steps(1)?;
    let run = bare()?.optimizer(|vars| AdamW::with_names(vars, params()))?;
    run.policy(freezing).accumulate(2)?.clip(GradClip::Norm(0.5))
}

/// Every parameter is updated when its gradient is whole.
fn within() -> Result<Run> {
    let sgd = |vars| Sgd::with_names(vars, ParamsSgd { lr: 0.05, ..Default::default() });
    Ok(bare()?.optimizer(sgd)?.policy(LayerFreezing::new(0.0, 0.7)?).update_in_backward())
}

#[test]
fn a_run_is_the_same_with_both() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for make in [run, busy, within] {
        let plain = course(&mut make()?, |_, _| Ok(()))?;
        for n in 1..=4 {
            // Half of the samples find room: hits and misses in one batch.
            for memory in [u64::MAX, SAMPLES as u64 / 2 * 32] {
                let cache = ActivationCache::new().memory(memory).folder(folder.path(), 100);
                let mut both = make()?.cache(cache).recompute(Recompute::every(n)?);
                let course = course(&mut both, |_, _| Ok(()))?;
                assert!(course == plain, "every {n} with {memory} bytes");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_stored_runs_once_and_what_trains_runs_again() -> Result<()> {
    let mut run = run()?.cache(ActivationCache::new()).recompute(Recompute::every(1)?);
    run.freeze_front(2)?;
    let samples = |run: &Run| {
        ["stem", "blocks.0", "blocks.1", "blocks.2", "dropout", "head"]
            .map(|stage| run.freezer().runs.of(stage))
    };
    // None is stored, half of them is, all are.
    for (round, misses) in [(0, 4), (1, 2), (2, 0)] {
        let which = [[0, 1, 2, 3], [2, 3, 4, 5], [5, 4, 1, 0]][round];
        let (keys, xs, ys) = batch(&which)?;
        run.freezer().runs.take();
        let scores = run.forward(&keys, xs, &())?;
        let front = samples(&run)[..2].to_vec();
        match round {
            // Tried: once more, and for a half. Two are filled up to the batch.
            0 => assert_eq!(front, [4 + 4 + 2; 2]),
            _ => assert_eq!(front, [misses * 2; 2]),
        }
        run.freezer().runs.take();
        let grads = backward(&cross_entropy(&scores, &ys)?)?;
        // The last stage is not run again: its backward follows at once.
        assert_eq!(samples(&run), [0, 0, 4, 4, 4, 0], "round {round}");
        let reached = run.freezer().vars().iter().filter(|var| grads.get(var).is_some()).count();
        assert_eq!(reached, run.freezer().trained_vars().len());
    }
    let stats = run.activation_cache().expect("a cache").stats();
    assert_eq!((stats.misses, stats.hits), (6, 6));
    Ok(())
}

/// The bits of the scores and of the gradient of each variable.
type Outcome = (Vec<u32>, Vec<Option<Vec<u32>>>);

fn outcome(net: &Freezer<Net>, scores: &Tensor) -> Outcome {
    let grads = backward(&scores.sqr().and_then(|all| all.sum_all()).expect("a loss"));
    let grads = grads.expect("gradients");
    (bits(scores), net.vars().iter().map(|var| grads.get(var).map(bits)).collect())
}

#[derive(Clone, Debug)]
enum Turn {
    Freeze(usize),
    Set(usize),
    Forward(Vec<u32>),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        2 => (0..5usize).prop_map(Turn::Freeze),
        1 => (0..5usize).prop_map(Turn::Set),
        6 => prop::collection::vec(0..8u32, 2..7).prop_map(Turn::Forward),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn scores_and_gradients_are_those_of_the_forward(
        turns in prop::collection::vec(turn(), 1..20),
        memory in prop::sample::select(vec![0u64, 70, 130, 1 << 20]),
        every in 1..6usize,
    ) {
        let cache = ActivationCache::new().memory(memory);
        let net = Net::new(1).expect("a net");
        let mut run = Training::new(net).expect("a run").cache(cache)
            .recompute(Recompute::every(every).expect("a choice"));
        for turn in &turns {
            match turn {
                Turn::Freeze(leaves) => drop(run.freeze_front(*leaves).expect("a plan")),
                Turn::Set(leaf) => {
                    let var: &Var = &run.freezer().vars()[2 * leaf];
                    var.set(&(var.as_tensor() * -0.9).expect("a tensor")).expect("set");
                }
                Turn::Forward(which) => {
                    let (keys, xs, _) = batch(which).expect("a batch");
                    let state = run.freezer().dropout.state();
                    let plain = run.freezer().forward(xs.clone(), &()).expect("a forward");
                    let plain = outcome(run.freezer(), &plain);
                    let drawn = run.freezer().dropout.state();
                    run.freezer().dropout.set_state(state);
                    let both = run.forward(&keys, xs, &()).expect("a forward");
                    prop_assert_eq!(outcome(run.freezer(), &both), plain, "{:?}", turns);
                    prop_assert_eq!(run.freezer().dropout.state(), drawn);
                }
            }
        }
    }
}
