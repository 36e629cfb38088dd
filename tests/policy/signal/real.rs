//! What the policies that go by what training shows do to a run of training.

use candle_nn::ParamsAdamW;
use freeze_core::optim::AdamW;
use freeze_core::policy::from_json;
use freeze_core::{LeafState, Training};

use crate::mlp::{LEAVES, Mlp, WIDTH, with_gradient};

const EPOCHS: usize = 4;
const BATCHES: usize = 6;

fn trained(run: &Training<Mlp>) -> Vec<bool> {
    run.freezer().plan().states().iter().map(|state| !state.is_frozen()).collect()
}

/// Frozen leaves have no gradient and the bits they froze with, others move; where leaves do not take
/// turns, frozen ones have no optimizer state.
#[test]
fn what_is_frozen_costs_nothing_and_stays() {
    for (text, drops_state) in [
        (r#"{"policy": "auto-freeze", "windows": 12, "percentile": 80, "by": "leaf"}"#, true),
        (r#"{"policy": "grad-es", "tau": 1e-12, "taus": [["layers.1", 9.0]]}"#, true),
        (r#"{"policy": "spectrum"}"#, true),
        (
            r#"{"policy": "plasticity", "acts": {"steps": 1}, "window": 2, "average": 1, "share": 1}"#,
            true,
        ),
        (r#"{"policy": "ils", "rate": 0.5}"#, false),
        (r#"{"policy": "snr", "batches": 2, "threshold": 0.9}"#, false),
    ] {
        let params = ParamsAdamW { lr: 0.01, ..Default::default() };
        let mut run = Training::new(Mlp::new(3).expect("a model"))
            .and_then(|run| run.optimizer(|vars| AdamW::with_names(vars, params)))
            .and_then(|run| run.policy(from_json(text)?).length(EPOCHS, BATCHES))
            .expect("a run")
            .probe(Mlp::stages);
        let mut seen = Vec::new();
        while let Some(epoch) = run.next_epoch().expect("an epoch") {
            for _ in epoch.remaining(0..BATCHES) {
                let (trains, states) = (trained(&run), run.freezer().plan().states().to_vec());
                assert_eq!(with_gradient(&run), trains, "{:?}, {text}", run.elapsed());
                let before = run.freezer().whole().weights();
                let loss = run.model().loss().expect("a loss");
                run.step(&loss).expect("a step");
                for (leaf, (before, after)) in
                    before.iter().zip(&run.freezer().whole().weights()).enumerate()
                {
                    let moves = matches!(
                        states[leaf],
                        LeafState::Trained { lr_scale } if lr_scale > 0.0
                    );
                    assert_eq!(before != after, moves, "leaf {leaf}, {:?}, {text}", run.elapsed());
                }
                if drops_state {
                    let held = run.optimizer_as::<AdamW>(0).expect("one").state_bytes();
                    // Two moments of weight and bias for each leaf that trained and still does.
                    let both = trains.iter().zip(trained(&run)).filter(|(a, b)| **a && *b).count();
                    let each = 2 * 4 * (WIDTH * WIDTH + WIDTH);
                    assert_eq!(held, both * each, "{:?}, {text}", run.elapsed());
                }
                seen.push(trains);
            }
            run.epoch_end([]).expect("the end of an epoch");
        }
        assert_eq!(seen.len(), EPOCHS * BATCHES, "{text}");
        assert!(seen.iter().any(|trains| trains.contains(&false)), "{text}: nothing froze");
    }
}

/// The largest relative gradient trains at the full rate, the others at less.
#[test]
fn rates_follow_relative_gradients() {
    let policy = from_json(r#"{"policy": "rgn", "batches": 2}"#).expect("a policy");
    let params = ParamsAdamW { lr: 0.01, ..Default::default() };
    let mut run = Training::new(Mlp::new(3).expect("a model"))
        .and_then(|run| run.optimizer(|vars| AdamW::with_names(vars, params)))
        .and_then(|run| run.policy(policy).length(EPOCHS, BATCHES))
        .expect("a run");
    let mut plans = Vec::new();
    while let Some(epoch) = run.next_epoch().expect("an epoch") {
        for _ in epoch.remaining(0..BATCHES) {
            let loss = run.model().loss().expect("a loss");
            run.step(&loss).expect("a step");
            plans.push(run.freezer().plan().clone());
        }
        run.epoch_end([]).expect("the end of an epoch");
    }
    assert_eq!(plans[0].states(), [LeafState::TRAINED; LEAVES]);
    for (step, plan) in plans.iter().enumerate().skip(1) {
        let full = plan.states().iter().filter(|state| **state == LeafState::TRAINED).count();
        assert_eq!((full, plan.frozen_leaves()), (1, 0), "step {step}");
        // Two batches of each epoch are measured, then rates stay until the next two.
        assert_eq!(*plan != plans[step - 1], step % BATCHES == 1, "step {step}");
    }
}
