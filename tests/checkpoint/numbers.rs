//! The largest and smallest numbers that a checkpoint can be given.

use candle_core::{DType, Device, Var};
use candle_nn::Linear;
use freeze_core::checkpoint::{Checkpoint, Goal, Manager, MetricHistory};
use freeze_core::{Elapsed, Freezer, Result};

const MAX: usize = usize::MAX;

fn net() -> Result<Freezer<Linear>> {
    let weight = Var::zeros((1, 1), DType::F32, &Device::Cpu)?.into_inner();
    Freezer::new(Linear::new(weight, None))
}

/// What is refused is listed in docs/RELIABILITY.md; this is what works.
#[test]
fn any_progress_is_saved_found_and_resumed() -> Result<()> {
    let at = |epoch, epochs, step, steps| Elapsed { epoch, epochs, step, steps };
    let rows = [
        at(0, 0, 0, 0),
        at(0, 1, 1, 1),
        at(1, 0, 2, 0),
        at(999_999, MAX, 9_999_999_999, MAX),
        at(1_000_000, MAX, 10_000_000_000, MAX),
        at(MAX, MAX, MAX, MAX),
        at(MAX, 1, MAX, 1),
    ];
    for keep in [1, 2, MAX] {
        let dir = tempfile::tempdir().expect("a folder");
        let manager = Manager::new(dir.path())?.keep_last(keep)?;
        for (i, progress) in rows.into_iter().enumerate() {
            let samples = u64::MAX - i as u64;
            let run = &mut net()?;
            manager.save(Checkpoint::of(run).progress(progress).samples(samples))?;
            assert_eq!(manager.checkpoints()?.len(), keep.min(i + 1).min(rows.len() - 1));
            let resumed = manager.resume(Checkpoint::of(run))?.expect("a checkpoint");
            let expected = (progress.epoch, progress.step, samples);
            let found = (resumed.progress.epoch, resumed.progress.step, resumed.samples);
            assert_eq!(found, expected, "{keep} {i}");
        }
    }
    Ok(())
}

#[test]
fn any_interval_is_kept_to() -> Result<()> {
    let rows =
        [(1, 1, true), (1, MAX, true), (MAX, MAX, true), (MAX, MAX - 1, false), (2, 0, false)];
    for (every, done, due) in rows {
        let dir = tempfile::tempdir().expect("a folder");
        let by_epoch = Manager::new(dir.path().join("epochs"))?.save_every_epochs(every)?;
        let by_step = Manager::new(dir.path().join("steps"))?.save_every_steps(every)?;
        let at = Elapsed::new(done, MAX);
        let saved = by_epoch.save_if_due(Checkpoint::of(&mut net()?).progress(at))?;
        assert_eq!(saved.is_some(), due, "{every} {done}");
        let at = Elapsed::new(0, 1).at_step(done, MAX);
        let saved = by_step.save_if_due(Checkpoint::of(&mut net()?).progress(at))?;
        assert_eq!(saved.is_some(), due, "{every} {done}");
    }
    Ok(())
}

#[test]
fn any_value_of_a_metric_is_kept_and_compared() -> Result<()> {
    let values = [f64::NAN, f64::MAX, 5e-324, -0.0, -f64::MAX, f64::INFINITY, -f64::INFINITY];
    for (goal, best) in [(Goal::Lowest, 7), (Goal::Highest, 6)] {
        let dir = tempfile::tempdir().expect("a folder");
        let manager = Manager::new(dir.path())?.keep_best("m", goal);
        let mut history = MetricHistory::default();
        for (i, value) in values.into_iter().enumerate() {
            let at = Elapsed::new(i + 1, MAX);
            history.record("m", value, at);
            manager.save(Checkpoint::of(&mut net()?).history(&mut history).progress(at))?;
        }
        assert_eq!(manager.best()?.as_ref(), manager.checkpoints()?.get(best - 1));
        let mut read = MetricHistory::default();
        manager.resume(Checkpoint::of(&mut net()?).history(&mut read))?;
        let bits = |history: &MetricHistory| -> Vec<u64> {
            history.records().iter().map(|record| record.value.to_bits()).collect()
        };
        assert_eq!(bits(&read), bits(&history));
    }
    Ok(())
}
