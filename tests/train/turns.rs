//! Two models that train in turn, as one struct with two parts.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, VarBuilder, linear};
use freeze_core::checkpoint::Manager;
use freeze_core::init::Seeded;
use freeze_core::optim::{AdamW, ParamsSgd, Sgd};
use freeze_core::policy::{Needs, Observation};
use freeze_core::train::OnNonFinite;
use freeze_core::{Decision, Elapsed, Freezable, FreezePlan, Policy, Result, Training};

use crate::observed::Shared;
use crate::rig::params;

#[derive(Freezable)]
struct Gan {
    generator: Linear,
    discriminator: Linear,
}

fn gan() -> Result<Gan> {
    let vb: VarBuilder<'_> = Seeded::builder(5, DType::F32, &Device::Cpu);
    Ok(Gan {
        generator: linear(2, 3, vb.pp("generator"))?,
        discriminator: linear(3, 1, vb.pp("discriminator"))?,
    })
}

fn bits(run: &Training<Gan>) -> Vec<Vec<u32>> {
    let tensors = run.freezer().whole().named_tensors().expect("tensors");
    let bits = |tensor: Tensor| -> Vec<u32> {
        let flat = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
        flat.into_iter().map(f32::to_bits).collect()
    };
    tensors.into_iter().map(|(_, tensor)| bits(tensor)).collect()
}

#[test]
fn each_loss_moves_its_own_part_and_keeps_the_others_state() -> Result<()> {
    let mut run = Training::new(gan()?)?
        .optimizer_for("generator", |vars| AdamW::with_names(vars, params()))?
        .optimizer_for("discriminator", |vars| AdamW::with_names(vars, params()))?
        .turns(2)?
        .length(2, 3)?;
    let noise = Tensor::new(&[[0.3f32, -0.2], [0.1, 0.4]], &Device::Cpu)?;
    let real = Tensor::new(&[[1f32, 0., 1.], [1., 1., 0.]], &Device::Cpu)?;
    let mut losses = 0;
    while let Some(epoch) = run.next_epoch()? {
        for _ in epoch.remaining(0..3) {
            let before = bits(&run);
            let fake = run.model().generator.forward(&noise)?.detach();
            let judge = &run.model().discriminator;
            let loss = (judge.forward(&fake)?.sqr()?.mean_all()?
                + (judge.forward(&real)? - 1.)?.sqr()?.mean_all()?)?;
            run.step(&loss)?;
            let between = bits(&run);
            assert_eq!(between[..2], before[..2], "the generator waits");
            assert!(between[2] != before[2] && between[3] != before[3]);

            let judge = run.freezer().frozen_view_of("discriminator")?;
            let fake = judge.generator.forward(&noise)?;
            let loss = (judge.discriminator.forward(&fake)? - 1.)?.sqr()?.mean_all()?;
            run.step(&loss)?;
            let after = bits(&run);
            assert_eq!(after[2..], between[2..], "the discriminator waits");
            assert!(after[0] != between[0] && after[1] != between[1]);
            losses += 2;
        }
        run.epoch_end([])?;
    }
    assert_eq!((losses, run.elapsed().step), (12, 12));
    for part in 0..2 {
        let opt = run.optimizer_as::<AdamW>(part).expect("an optimizer");
        for var in opt.vars() {
            assert_eq!(opt.updates(&var), Some(6), "no moment was lost in a turn");
        }
    }
    Ok(())
}

#[derive(Freezable)]
struct Pair {
    #[freeze(param)]
    first: Tensor,
    #[freeze(param)]
    second: Tensor,
}

/// Each part has one loss of every batch: its mean is over batches, not over all losses.
#[test]
fn gathered_turns_move_each_part_by_its_mean_over_the_batches() -> Result<()> {
    let zero =
        || Ok::<_, candle_core::Error>(Var::zeros(1, DType::F64, &Device::Cpu)?.into_inner());
    let mut run = Training::new(Pair { first: zero()?, second: zero()? })?
        .optimizer(|vars| Sgd::with_names(vars, ParamsSgd { lr: 1.0, ..Default::default() }))?
        .turns(2)?
        .accumulate(2)?
        .length(1, 2)?;
    while let Some(epoch) = run.next_epoch()? {
        for slope in epoch.remaining([1.0, 3.0]) {
            let loss = (&run.model().first * slope)?.sum_all()?;
            run.step(&loss)?;
            let loss = (&run.model().second * (10.0 * slope))?.sum_all()?;
            run.step(&loss)?;
        }
        run.epoch_end([])?;
    }
    let pair = run.into_model();
    assert_eq!((pair.first.to_vec1::<f64>()?, pair.second.to_vec1()?), (vec![-2.0], vec![-20.0]));
    Ok(())
}

/// One loss that is left out would have changed what the other turn's count.
#[test]
fn gathered_turns_and_losses_left_out_are_refused_together() -> Result<()> {
    let begin = |accumulate| -> Result<Training<Gan>> {
        let run = Training::new(gan()?)?.optimizer(|vars| AdamW::with_names(vars, params()))?;
        run.on_non_finite(OnNonFinite::Skip).turns(2)?.accumulate(accumulate)?.length(1, 2)
    };
    assert!(begin(1)?.next_epoch()?.is_some());
    let mut run = begin(2)?;
    let error = run.next_epoch().expect_err("refused").to_string();
    assert!(error.contains("one of `accumulate`, `turns` and `Skip`"), "{error}");
    assert!(run.on_non_finite(OnNonFinite::Stop).next_epoch()?.is_some(), "and then goes on");
    Ok(())
}

/// What comes due between the losses of a batch is saved behind the last of them.
#[test]
fn a_save_that_is_due_between_two_losses_is_made_after_the_batch() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = Training::new(gan()?)?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .turns(2)?
        .checkpoints(Manager::new(folder.path())?.save_every_steps(5)?)
        .length(2, 8)?;
    let mut saved = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        for _ in epoch.remaining(0..8) {
            for _ in 0..2 {
                let loss = run.model().generator.weight().sqr()?.mean_all()?;
                let step = run.step(&loss)?;
                saved.extend(step.saved.map(|_| run.elapsed().step));
            }
        }
        saved.extend(run.epoch_end([])?.saved.map(|_| run.elapsed().step));
    }
    // Due at 5, 10, 15, 20, 25, 30, and at the end.
    assert_eq!(saved, [6, 10, 16, 20, 26, 30, 32]);
    Ok(())
}

/// Sums of gradients over four losses.
struct Window(Shared);

impl Policy for Window {
    fn needs(&self, at: Elapsed) -> Needs {
        match (at.step + 1).is_multiple_of(4) {
            true => Needs::SUM_GRADIENTS | Needs::GRADIENT_SUM,
            false => Needs::SUM_GRADIENTS,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        self.0.lock().expect("no panic").push(seen.clone());
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "window".into()
    }
}

/// A window that ends in the turn of a part that is frozen is shown all the same.
#[test]
fn the_sums_of_one_part_are_shown_in_the_turn_of_another() -> Result<()> {
    let seen = Shared::default();
    let mut run = Training::new(gan()?)?
        .optimizer(|vars| Sgd::with_names(vars, ParamsSgd { lr: 0.0, ..Default::default() }))?
        .policy(Window(seen.clone()))
        .turns(2)?
        .length(1, 4)?;
    let mut plan = run.freezer().plan().clone();
    plan.freeze("generator")?;
    run.apply(&plan)?;
    let mut sums = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        for _ in epoch.remaining(0..4) {
            let judge = run.model().discriminator.weight();
            let loss = (judge * 3.0)?.sum_all()?;
            run.step(&loss)?;
            let loss = run.model().generator.weight().sqr()?.mean_all()?;
            run.step(&loss)?;
            let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
            let shown = seen.iter().flat_map(Observation::tensors);
            for tensor in shown {
                sums.extend(tensor.gradient_sum_norms()?.map(|sum| (run.elapsed().step, sum.l1)));
            }
        }
        run.epoch_end([])?;
    }
    // Three weights, twice.
    assert_eq!(sums, [(4, 18.0), (8, 18.0)]);
    Ok(())
}

#[test]
fn a_batch_left_between_its_losses_is_not_gone_past() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.safetensors");
    let mut run = Training::new(gan()?)?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .turns(2)?
        .length(1, 1)?;
    run.next_epoch()?;
    let loss = |run: &Training<Gan>| run.model().generator.weight().sqr()?.mean_all();
    run.step(&loss(&run)?)?;
    for error in [run.save(&path).expect_err("between"), run.next_epoch().expect_err("between")] {
        assert!(error.to_string().contains("of its"), "{error}");
    }
    run.step(&loss(&run)?)?;
    run.save(&path)?;
    run.epoch_end([])?;
    Ok(())
}

/// The loss of a part that is frozen whole reaches nothing, and the other part trains on.
#[test]
fn a_part_that_is_frozen_takes_its_turn_without_an_update() -> Result<()> {
    type Change = fn(Training<Gan>) -> Result<Training<Gan>>;
    let rows: [Change; 3] = [Ok, |run| run.accumulate(2), |run| Ok(run.update_in_backward())];
    let noise = Tensor::new(&[[0.3f32, -0.2], [0.1, 0.4]], &Device::Cpu)?;
    for change in rows {
        let run = Training::new(gan()?)?.optimizer(|vars| AdamW::with_names(vars, params()))?;
        let mut run = change(run.turns(2)?.length(1, 4)?)?;
        run.freeze_front(1)?;
        let before = bits(&run);
        let mut updates = Vec::new();
        while let Some(epoch) = run.next_epoch()? {
            for _ in epoch.remaining(0..4) {
                let of_generator = run.model().generator.forward(&noise)?.sqr()?.mean_all()?;
                updates.push(run.step(&of_generator)?.updated);
                let fake = run.model().generator.forward(&noise)?;
                let loss = run.model().discriminator.forward(&fake)?.sqr()?.mean_all()?;
                updates.push(run.step(&loss)?.updated);
            }
            run.epoch_end([])?;
        }
        let after = bits(&run);
        assert_eq!(after[..2], before[..2]);
        assert!(after[2] != before[2] && after[3] != before[3]);
        assert!(updates.iter().step_by(2).all(|updated| !updated) && updates[7], "{updates:?}");
    }
    // With nothing frozen it is a mistake.
    let mut run = Training::new(gan()?)?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .turns(2)?
        .length(1, 4)?;
    run.next_epoch()?;
    assert!(run.step(&noise.mean_all()?).is_err());
    Ok(())
}
