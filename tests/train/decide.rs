//! When the policy is asked.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device};
use candle_nn::{Linear, VarBuilder, linear};
use freeze_core::init::Seeded;
use freeze_core::optim::AdamW;
use freeze_core::{
    Decision, Elapsed, Freezable, FreezePlan, LayerFreezing, Policy, Result, Training,
};

use crate::rig::*;

/// Writes down when it was asked.
struct Asked(Arc<Mutex<Vec<(usize, usize)>>>);

impl Policy for Asked {
    fn decide(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision> {
        self.0.lock().expect("no panic").push((elapsed.epoch, elapsed.step));
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "asked".into()
    }
}

#[test]
fn once_per_moment_also_where_step_and_epoch_end_together() -> Result<()> {
    // Batches to a step, steps between questions, and the moments of the first two epochs.
    type Row = (usize, Option<usize>, Vec<(usize, usize)>);
    let rows: [Row; 4] = [
        (1, None, vec![(1, 5), (2, 10)]),
        (1, Some(5), vec![(1, 5), (2, 10)]),
        (1, Some(2), vec![(0, 2), (0, 4), (1, 5), (1, 6), (1, 8), (2, 10)]),
        (2, Some(1), vec![(0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (2, 6)]),
    ];
    for (accumulate, every, moments) in rows {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut policy = LayerFreezing::with_policy(Asked(Arc::clone(&asked)));
        if let Some(every) = every {
            policy = policy.every_steps(every)?;
        }
        let mut run = plain()?.accumulate(accumulate)?.policy(policy);
        for _ in 0..2 {
            let epoch = run.next_epoch()?.expect("an epoch");
            drive_epoch(&mut run, &epoch)?;
            run.epoch_end([])?;
        }
        assert_eq!(*asked.lock().expect("no panic"), moments, "{accumulate} {every:?}");
    }
    Ok(())
}

#[test]
fn thawing_thaws_what_is_declared_frozen_too() -> Result<()> {
    #[derive(Freezable)]
    struct Declared {
        #[freeze(frozen)]
        body: Linear,
        head: Linear,
    }
    let vb: VarBuilder<'_> = Seeded::builder(1, DType::F32, &Device::Cpu);
    let net = Declared { body: linear(2, 2, vb.pp("a"))?, head: linear(2, 2, vb.pp("b"))? };
    let mut run = Training::new(net)?.optimizer(|vars| AdamW::with_names(vars, params()))?;
    assert_eq!(run.freezer().plan().frozen_leaves(), 1);
    assert_eq!(run.thaw()?.thawed, ["body"]);
    Ok(())
}
