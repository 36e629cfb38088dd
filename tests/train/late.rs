//! What comes late: a policy, a sink, an error behind an update.

use std::fs;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use freeze_core::checkpoint::Manager;
use freeze_core::init::Seeded;
use freeze_core::optim::AdamW;
use freeze_core::policy::{Boxed, Moment, Needs, Observation, all_trained, from_text};
use freeze_core::train::OnNonFinite;
use freeze_core::{
    Decision, Elapsed, Freezable, FreezePlan, JsonLines, LeafState, Policy, Result, Training, nn,
};

use crate::rig::*;

fn epoch(run: &mut Training<Net>) -> Result<()> {
    let epoch = run.next_epoch()?.expect("an epoch");
    drive_epoch(run, &epoch)?;
    run.epoch_end([])?;
    Ok(())
}

/// Freezes the stem, and then another policy that acts at its start alone takes over.
#[test]
fn a_policy_that_takes_over_begins_with_the_next_epoch() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let saved = folder.path().join("saved");
    let mut run = plain()?.policy(from_text(
        "freeze-at:milestones=[{\"at\":{\"share\":0.2},\"freeze\":{\"leaves\":1}}]",
    )?);
    epoch(&mut run)?;
    assert_eq!(run.freezer().plan().frozen_leaves(), 1);
    run.save(&saved)?;
    let mut run = run.policy(all_trained(0.5)?);
    assert_eq!(run.freezer().plan().frozen_leaves(), 1, "until it is asked");
    epoch(&mut run)?;
    let half = LeafState::Trained { lr_scale: 0.5 };
    assert_eq!(run.freezer().plan().states(), [half; 5]);

    // A run that is resumed has asked its policy before.
    let mut again = plain()?.policy(from_text(
        "freeze-at:milestones=[{\"at\":{\"share\":0.2},\"freeze\":{\"leaves\":1}}]",
    )?);
    again.resume_from(&saved)?;
    again.next_epoch()?;
    assert_eq!(again.freezer().plan().frozen_leaves(), 1);
    Ok(())
}

/// Layers whose costs can be measured.
#[derive(Freezable)]
struct Stack {
    layers: Vec<nn::Linear>,
}

impl Stack {
    fn loss(&self) -> candle_core::Result<Tensor> {
        let (xs, ys) = data()?;
        let xs = self.layers.iter().try_fold(xs, |xs, layer| layer.forward(&xs)?.relu())?;
        nn::cross_entropy(&xs, &ys, None)
    }

    /// A run of one epoch of 6 batches and then others, with what a budget needs.
    fn run() -> Result<Training<Self>> {
        let vb: VarBuilder<'_> = Seeded::builder(3, DType::F32, &Device::Cpu);
        let widths = [5, 8, 8, 3];
        let layer = |(i, pair): (usize, &[usize])| nn::linear(pair[0], pair[1], vb.pp(i));
        let layers =
            widths.windows(2).enumerate().map(layer).collect::<candle_core::Result<_>>()?;
        Training::new(Self { layers })?
            .optimizer(|vars| AdamW::with_names(vars, params()))?
            .costs_of(Self::loss)
            .length(3, 6)
    }
}

fn budget() -> Result<Boxed> {
    from_text("budget:time=0.8,every=1,probe=1,by=leaf")
}

fn stack_epoch(run: &mut Training<Stack>, left_out: usize) -> Result<()> {
    run.next_epoch()?.expect("an epoch");
    for batch in 0..6 {
        let factor = if batch < left_out { f64::NAN } else { 1.0 };
        let loss = (run.model().loss()? * factor)?;
        run.step(&loss)?;
    }
    run.epoch_end([]).map(drop)
}

/// It needs what a step costs, which it is shown when it begins: between epochs, within one, and at its end.
#[test]
fn a_budget_that_takes_over_is_shown_the_costs() -> Result<()> {
    for at in [0, 1, 3, 5, 6] {
        let mut run = Stack::run()?;
        run.next_epoch()?.expect("an epoch");
        for batch in 0..6 {
            if batch == at {
                run = run.policy(budget()?);
            }
            let loss = run.model().loss()?;
            run.step(&loss)?;
        }
        if at == 6 {
            run = run.policy(budget()?);
        }
        run.epoch_end([])?;
        stack_epoch(&mut run, 0)?;
        assert!(run.freezer().plan().frozen_leaves() > 0, "{at}: {:?}", run.freezer().plan());
        stack_epoch(&mut run, 0)?;
    }
    Ok(())
}

/// It cannot begin without what the costs are measured of: each step is made and says so, and it begins once that is there,
/// on another thread and after a third policy was given and taken back.
#[test]
fn a_policy_that_cannot_begin_within_an_epoch_begins_when_it_can() -> Result<()> {
    let mut run = Stack::run()?.costs_of(|_| candle_core::bail!("the batch is not there yet"));
    run.next_epoch()?.expect("an epoch");
    let loss = run.model().loss()?;
    run.step(&loss)?;
    run = run.policy(budget()?);
    for step in 2..4 {
        let loss = run.model().loss()?;
        let refused = run.step(&loss).expect_err("no costs").to_string();
        assert!(refused.contains("the batch is not there yet"), "{refused}");
        assert_eq!((run.elapsed().step, run.freezer().plan().frozen_leaves()), (step, 0));
    }
    run = run.policy(all_trained(0.5)?).policy(budget()?).costs_of(Stack::loss);
    let run = std::thread::spawn(move || -> Result<Training<Stack>> {
        for _ in 3..6 {
            let loss = run.model().loss()?;
            run.step(&loss)?;
        }
        run.epoch_end([])?;
        Ok(run)
    });
    let mut run = run.join().expect("no panic")?;
    assert!(run.freezer().plan().frozen_leaves() > 0, "{:?}", run.freezer().plan());
    stack_epoch(&mut run, 0)
}

/// All steps that a budget would look at are left out: it knows no drop of the loss, and the run goes on.
#[test]
fn a_budget_that_saw_nothing_counts_all_alike() -> Result<()> {
    for left_out in [0, 1, 2, 3] {
        let mut run = Stack::run()?.on_non_finite(OnNonFinite::Skip).policy(budget()?);
        stack_epoch(&mut run, left_out)?;
        assert!(run.freezer().plan().frozen_leaves() > 0, "{left_out} left out");
        stack_epoch(&mut run, 0)?;
    }
    Ok(())
}

#[test]
fn a_sink_that_comes_after_the_resume_has_no_doubles() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.jsonl");
    let run =
        || -> Result<_> { Ok(plain()?.checkpoints(Manager::new(folder.path().join("kept"))?)) };
    let mut cut = run()?.metrics(JsonLines::create(&path)?);
    epoch(&mut cut)?;
    // Killed behind an epoch that is not saved.
    let mut cut = cut.checkpoints(Manager::new(folder.path().join("elsewhere"))?.replace_later());
    epoch(&mut cut)?;
    drop(cut);
    let both = fs::read_to_string(&path).expect("lines").lines().count();

    let mut again = run()?;
    again.resume()?.expect("a checkpoint");
    let mut again = again.metrics(JsonLines::create(&path)?);
    assert_eq!(again.elapsed().epoch, 1);
    assert_eq!(fs::read_to_string(&path).expect("lines").lines().count(), both / 2);
    epoch(&mut again)?;
    assert_eq!(fs::read_to_string(&path).expect("lines").lines().count(), both);
    Ok(())
}

/// Refuses what it sees once, and is due after every step.
struct Refuses(usize, Arc<Mutex<Vec<usize>>>);

impl Policy for Refuses {
    fn is_due(&self, _: Elapsed, _: Moment) -> bool {
        true
    }

    fn needs(&self, _: Elapsed) -> Needs {
        Needs::GRADIENT
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        match seen.at().step == self.0 {
            true => Err(freeze_core::Error::Observed {
                name: "stem".into(),
                what: "norm",
                value: f64::NAN,
            }),
            false => Ok(()),
        }
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        self.1.lock().expect("no panic").push(at.step);
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "refuses".into()
    }
}

/// The step is counted, so what is due behind it is due whatever the policy thinks of what it was shown.
#[test]
fn a_policy_that_refuses_what_it_sees_does_not_miss_its_turn_nor_the_run_its_save() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let manager = Manager::new(folder.path())?.save_every_steps(1)?;
    let mut run = plain()?.policy(Refuses(2, asked.clone())).checkpoints(manager);
    let first = run.next_epoch()?.expect("an epoch");
    for (batch, which) in first.shuffled(SAMPLES, SIZE).enumerate().take(3) {
        let loss = loss(&run, &which)?;
        assert_eq!(run.step(&loss).is_err(), batch == 1);
        assert_eq!(run.elapsed().step, batch + 1);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), (batch + 1).min(3));
    }
    assert_eq!(*asked.lock().expect("no panic"), [0, 1, 2, 3]);
    Ok(())
}
