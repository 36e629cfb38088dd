//! Effects in a real run: gradients, weights, optimizer state, and going on from a checkpoint.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, ParamsAdamW, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, Training, backward};

use super::rig::policy;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const EPOCHS: usize = 3;
const BATCHES: usize = 7;
const STEPS: usize = EPOCHS * BATCHES;

/// Six leaves: both ends, and four blocks of one leaf each.
#[derive(Freezable)]
struct Net {
    stem: Linear,
    body: Vec<Linear>,
    head: Linear,
}

impl Net {
    fn new(seed: u64) -> Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(seed, DType::F32, &Device::Cpu);
        let body = (0..4).map(|i| linear(6, 6, vb.pp("body").pp(i)));
        let body = body.collect::<candle_core::Result<_>>()?;
        Ok(Self { stem: linear(3, 6, vb.pp("stem"))?, body, head: linear(6, 2, vb.pp("head"))? })
    }

    fn loss(&self, step: usize) -> candle_core::Result<Tensor> {
        let number = |i: usize| ((i * 37 + step * 11) % 19) as f32 / 9.0 - 1.0;
        let xs = Tensor::from_vec((0..12).map(number).collect(), (4, 3), &Device::Cpu)?;
        let mut ys = self.stem.forward(&xs)?;
        for layer in &self.body {
            ys = layer.forward(&ys)?.tanh()?;
        }
        (self.head.forward(&ys)? - 0.5)?.sqr()?.mean_all()
    }
}

fn run(settings: &str, seed: u64) -> Result<Training<Net>> {
    let params = ParamsAdamW { lr: 0.02, ..Default::default() };
    let run = Training::new(Net::new(seed)?)?.optimizer(|vars| AdamW::with_names(vars, params))?;
    Ok(run.policy(policy(settings)).length(EPOCHS, BATCHES)?)
}

/// Takes steps until `until` of them are completed; `each` is called around each of them.
fn drive(
    run: &mut Training<Net>,
    until: usize,
    mut each: impl FnMut(&mut Training<Net>, Moment) -> Result,
) -> Result {
    while run.elapsed().step < until
        && let Some(epoch) = run.next_epoch()?
    {
        for batch in epoch.done..epoch.batches {
            each(run, Moment::Before)?;
            let loss = run.model().loss(epoch.index * BATCHES + batch)?;
            run.step(&loss)?;
            if batch + 1 == epoch.batches {
                run.epoch_end([])?;
            }
            each(run, Moment::After)?;
            if run.elapsed().step == until {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Moment {
    Before,
    After,
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
    flat.into_iter().map(f32::to_bits).collect()
}

fn weights(run: &Training<Net>) -> BTreeMap<String, Vec<u32>> {
    let vars = run.freezer().named_vars().into_iter();
    vars.map(|(name, var)| (name, bits(var.as_tensor()))).collect()
}

/// The moments by name, and how many updates each parameter has had.
fn moments(run: &Training<Net>) -> (BTreeMap<String, Vec<u32>>, BTreeMap<String, i64>) {
    let optimizer = run.optimizer_as::<AdamW>(0).expect("an optimizer");
    let (mut moments, mut steps) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in optimizer.state_tensors().expect("state") {
        match name.strip_prefix("step/") {
            Some(name) => drop(steps.insert(name.into(), tensor.to_scalar().expect("a number"))),
            None => drop(moments.insert(name, bits(&tensor))),
        }
    }
    (moments, steps)
}

fn leaf_of(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(leaf, _)| leaf)
}

/// Whether the leaf of a parameter trains.
fn trains(run: &Training<Net>, name: &str) -> bool {
    let plan = run.freezer().plan();
    let leaf = plan.paths().iter().position(|path| path == leaf_of(name)).expect("a leaf");
    !plan.states()[leaf].is_frozen()
}

/// What rests has no gradient, no update and, unless it is kept, no state.
#[test]
fn what_rests_has_no_gradient_and_stays_bit_for_bit() -> Result {
    for (settings, kept) in [
        (r#"{"policy": "lisa", "every": 3}"#, false),
        (r#"{"policy": "badam", "switch-every": 2, "also-trains": ["head"]}"#, false),
        (r#"{"policy": "hift"}"#, true),
        (r#"{"policy": "weighted", "every": 4, "blocks": 1, "train-rest": false}"#, true),
    ] {
        let mut run = run(settings, 1)?;
        let mut before = weights(&run);
        let (mut trained, mut plans) = (0, Vec::new());
        drive(&mut run, STEPS, |run, moment| {
            if moment == Moment::Before {
                let grads = backward(&run.model().loss(0)?)?;
                for (name, var) in run.freezer().named_vars() {
                    assert_eq!(grads.get(&var).is_some(), trains(run, &name), "{settings}: {name}");
                }
                let vars = run.freezer().trained_vars();
                trained = vars.iter().map(|var| var.elem_count()).sum();
                plans.push(run.freezer().plan().clone());
                return Ok(());
            }
            let after = weights(run);
            let before = std::mem::replace(&mut before, after.clone());
            let plan = plans.last().expect("a plan");
            for (leaf, state) in plan.paths().iter().zip(plan.states()) {
                let of_leaf = |(name, _): &(&String, _)| leaf_of(name) == leaf;
                let changed = before.iter().zip(&after).filter(|(one, _)| of_leaf(one));
                let changed = changed.filter(|((_, one), (_, other))| one != other).count();
                assert_eq!(changed > 0, !state.is_frozen(), "{settings}: {leaf}");
            }
            if !kept {
                // Two moments of four bytes; less where a turn has just ended.
                let bytes = run.optimizer_as::<AdamW>(0).map_or(0, AdamW::state_bytes);
                let turned = run.freezer().plan() != plan;
                assert!(
                    bytes == 8 * trained || turned && bytes < 8 * trained,
                    "{settings}: {bytes}"
                );
            }
            Ok(())
        })?;
        plans.dedup();
        assert!(plans.len() > 2, "{settings}: nobody took turns");
    }
    Ok(())
}

/// A run in which the first turn ends, and one in which it goes on: the moments that are kept are those
/// of the other, bit for bit.
#[test]
fn moments_at_the_end_of_a_turn() -> Result {
    // Whether the moments of what rests and those of what trains on are there after the turn.
    let rows = [
        (r#""lisa", "state": "reset-all""#, false, false),
        (r#""lisa", "state": "drop""#, false, true),
        (r#""lisa", "state": "keep""#, true, true),
        (r#""lisa", "state": "offload""#, true, true),
        (r#""weighted", "state": "reset-all""#, false, false),
        (r#""weighted", "state": "drop""#, false, true),
        (r#""weighted", "state": "offload""#, true, true),
        (r#""badam", "also-trains": ["head"]"#, false, false),
        (r#""hift", "state": "keep""#, true, true),
        (r#""hift", "state": "offload""#, true, true),
    ];
    for (settings, of_resting, of_training) in rows {
        let with_turns_of = |steps: usize| {
            let every = if settings.contains("badam") { "switch-every" } else { "every" };
            run(&format!(r#"{{"policy": {settings}, "{every}": {steps}}}"#), 1)
        };
        let (mut short, mut long) = (with_turns_of(3)?, with_turns_of(STEPS)?);
        for run in [&mut short, &mut long] {
            drive(run, 3, |_, _| Ok(()))?;
        }
        let ((ours, steps), (theirs, their_steps)) = (moments(&short), moments(&long));
        assert!(!theirs.is_empty());
        let mut resting = 0;
        for (row, expected) in &theirs {
            let name = row.split_once('/').map_or("", |(_, name)| name);
            let rests = !trains(&short, name);
            resting += usize::from(rests);
            let kept = if rests { of_resting } else { of_training };
            assert_eq!(ours.get(row), kept.then_some(expected), "{settings}: {row}");
            let expected = if kept { their_steps[name] } else { 0 };
            assert_eq!((steps[name], their_steps[name]), (expected, 3), "{settings}: {row}");
        }
        assert!(resting > 0, "{settings}: the same blocks");
        assert!(ours.keys().all(|row| theirs.contains_key(row)));
    }
    Ok(())
}

/// A block that comes back goes on from the moments that it left with, or starts again.
#[test]
fn moments_of_a_block_that_comes_back() -> Result {
    // The most updates that a block's state has had between steps, in two turns of two steps. What is
    // dropped is so with the last step of a turn.
    for (settings, updates) in [
        (r#"{"policy": "hift", "every": 2}"#, 4),
        (r#"{"policy": "badam", "switch-every": 2, "include-rest": true}"#, 1),
    ] {
        let mut run = run(settings, 1)?;
        let mut most = 0;
        drive(&mut run, STEPS, |run, _| {
            let (_, steps) = moments(run);
            most = most.max(steps["body.1.weight"]);
            Ok(())
        })?;
        assert_eq!(most, updates, "{settings}");
    }
    Ok(())
}

#[test]
fn a_run_goes_on_from_every_step_of_a_turn() -> Result {
    let folder = tempfile::tempdir()?;
    for settings in [
        r#"{"policy": "lisa", "every": 3, "state": "keep"}"#,
        r#"{"policy": "lisa", "every": 4, "blocks": 1}"#,
        r#"{"policy": "badam", "switch-every": 4, "order": "random"}"#,
        r#"{"policy": "hift", "every": 2, "order": "random"}"#,
        r#"{"policy": "weighted", "every": 3, "blocks": 1}"#,
        r#"{"policy": "weighted", "every": 4, "sampling": "dirichlet", "score": "weight"}"#,
    ] {
        let path = |step: usize| folder.path().join(format!("{step}.safetensors"));
        let mut whole = run(settings, 1)?;
        drive(&mut whole, STEPS, |run, moment| {
            if moment == Moment::After {
                run.save(path(run.elapsed().step))?;
            }
            Ok(())
        })?;
        for step in 1..STEPS {
            // Other weights, and every second one has run for a while.
            let mut later = run(settings, 100 + step as u64)?;
            if step % 2 == 0 {
                drive(&mut later, 5, |_, _| Ok(()))?;
            }
            later.resume_from(path(step))?;
            drive(&mut later, STEPS, |_, _| Ok(()))?;
            assert!(weights(&later) == weights(&whole), "{settings}: weights from {step}");
            assert!(moments(&later) == moments(&whole), "{settings}: moments from {step}");
            let why = |run: &Training<Net>| run.freezer().why("body.1").map(String::from);
            assert_eq!(why(&later), why(&whole), "{settings}: {step}");
        }
    }
    Ok(())
}

#[test]
fn a_plan_by_hand_within_a_run_is_kept_by_every_turn() -> Result {
    let mut run = run(r#"{"policy": "hift", "every": 2}"#, 1)?;
    drive(&mut run, 3, |_, _| Ok(()))?;
    let mut by_hand = run.freezer().base().clone();
    by_hand.freeze("body.2")?.train("head", 0.5)?;
    run.apply(&by_hand)?;
    let before = weights(&run)["body.2.weight"].clone();
    let mut turns = 0;
    drive(&mut run, STEPS, |run, _| {
        assert!(!trains(run, "body.2.weight"));
        turns += usize::from(trains(run, "head.weight"));
        Ok(())
    })?;
    assert_eq!(weights(&run)["body.2.weight"], before);
    assert!(turns > 0);
    Ok(())
}
