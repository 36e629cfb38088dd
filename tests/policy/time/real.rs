//! What the policies that go by time do to a run of training.

use candle_nn::ParamsAdamW;
use freeze_core::optim::AdamW;
use freeze_core::policy::{Moment, from_json};
use freeze_core::{FreezePlan, LeafState, Policy, Training};

use crate::mlp::{Mlp, WIDTH, with_gradient};

const EPOCHS: usize = 4;
const BATCHES: usize = 3;

fn trained(plan: &FreezePlan) -> Vec<bool> {
    plan.states().iter().map(|state| !state.is_frozen()).collect()
}

/// Frozen leaves have no gradient, no optimizer state, and the bits they froze with; others move.
#[test]
fn what_is_frozen_costs_nothing_and_stays() {
    for (text, turns) in [
        (r#"{"policy": "linear", "start": 0, "acts": {"steps": 2}}"#, 2),
        (r#"{"policy": "freeze-out", "t0": 0.4, "how": "linear"}"#, 3),
        (r#"{"policy": "geometric"}"#, 2),
        (r#"{"policy": "gradual-unfreezing", "triangle": {"cut-frac": 0.25, "ratio": 4}}"#, 3),
        (
            r#"{"policy": "phases", "phases": [
                {"train": ["layers.3"], "until": {"epoch": 1}}, {"until": {"share": 0.5}},
                {"freeze": ["layers.1"], "rates": {"**": 0.1}}
            ]}"#,
            2,
        ),
        (
            r#"{"policy": "freeze-at", "milestones": [
                {"at": {"share": 0.2}, "freeze": {"leaves": 1}},
                {"at": {"epoch": 2}, "freeze": {"up-to": "layers.2"}}
            ]}"#,
            2,
        ),
    ] {
        let mut expected = from_json(text).expect("a policy");
        let policy = from_json(text).expect("a policy");
        let model = Mlp::new(3).expect("a model");
        let mut plan = FreezePlan::all_trained(&model).expect("a plan");
        let base = plan.clone();
        let params = ParamsAdamW { lr: 0.01, ..Default::default() };
        let mut run = Training::new(model)
            .and_then(|run| run.optimizer(|vars| AdamW::with_names(vars, params)))
            .and_then(|run| run.policy(policy).length(EPOCHS, BATCHES))
            .expect("a run");
        let mut ask = |run: &Training<Mlp>, moment: Moment, plan: &mut FreezePlan| {
            if expected.is_due(run.elapsed(), moment) {
                *plan = expected.decide(run.elapsed(), &base).expect("a decision").plan;
            }
            assert_eq!(run.freezer().plan(), &*plan, "{:?}, {text}", run.elapsed());
        };
        let mut seen = Vec::new();
        while let Some(epoch) = run.next_epoch().expect("an epoch") {
            for batch in epoch.remaining(0..BATCHES) {
                if run.elapsed().step == 0 {
                    ask(&run, Moment::Start, &mut plan);
                }
                let trains = trained(&plan);
                assert_eq!(with_gradient(&run), trains, "{:?}, {text}", run.elapsed());
                let before = run.freezer().whole().weights();
                let loss = run.model().loss().expect("a loss");
                run.step(&loss).expect("a step");
                let after = run.freezer().whole().weights();
                for (leaf, (before, after)) in before.iter().zip(&after).enumerate() {
                    let moves = match plan.states()[leaf] {
                        LeafState::Trained { lr_scale } => lr_scale > 0.0,
                        _ => false,
                    };
                    assert_eq!(before != after, moves, "leaf {leaf}, {:?}, {text}", run.elapsed());
                }
                if batch + 1 < BATCHES {
                    ask(&run, Moment::Step, &mut plan);
                }
                seen.push(trains);
            }
            run.epoch_end([]).expect("the end of an epoch");
            ask(&run, Moment::Epoch, &mut plan);
            let held = run.optimizer_as::<AdamW>(0).expect("one").state_bytes();
            // Two moments of weight and bias for each leaf that trained and still does.
            let last = seen.last().expect("a step");
            let both = last.iter().zip(trained(&plan)).filter(|(a, b)| **a && *b).count();
            assert_eq!(held, both * 2 * 4 * (WIDTH * WIDTH + WIDTH), "{:?}, {text}", run.elapsed());
        }
        seen.dedup();
        assert!(seen.len() >= turns, "{seen:?}, {text}");
    }
}
