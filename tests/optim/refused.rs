//! What was prepared before a refusal is let go, and never taken up.

use std::cell::Cell;
use std::rc::Rc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim::{Adam, AdamW, ParamGroups, PerParam, StatePolicy};
use freeze_core::{Freezable, Freezer, LeafState, PlanOptimizer, PlannedVar, Result};

use super::plans::{Net, net, train};
use super::{CPU, bits};

/// One leaf for ours, one for candle's `SGD`, which has one rate for all.
#[derive(Freezable)]
struct Pair {
    ours: Linear,
    theirs: Linear,
}

fn pair() -> Result<Freezer<Pair>> {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    Freezer::new(Pair { ours: linear(2, 2, vb.pp("a"))?, theirs: linear(2, 2, vb.pp("b"))? })
}

fn of(net: &Freezer<Pair>, leaf: &str) -> Vec<PlannedVar> {
    net.planned_vars().into_iter().filter(|var| &*var.leaf == leaf).collect()
}

/// candle's `SGD` that counts how many of it live.
struct Counted(candle_nn::SGD, Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.set(self.1.get() - 1);
    }
}

impl Optimizer for Counted {
    type Config = Rc<Cell<usize>>;

    fn new(vars: Vec<Var>, alive: Self::Config) -> candle_core::Result<Self> {
        alive.set(alive.get() + 1);
        Ok(Self(candle_nn::SGD::new(vars, 0.5)?, alive))
    }

    fn step(&mut self, grads: &GradStore) -> candle_core::Result<()> {
        self.0.step(grads)
    }

    fn learning_rate(&self) -> f64 {
        self.0.learning_rate()
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.0.set_learning_rate(lr);
    }
}

#[test]
fn a_refused_plan_is_forgotten_by_every_optimizer() -> Result<()> {
    let mut net = pair()?;
    let alive = Rc::new(Cell::new(0));
    let mut ours = AdamW::with_names(of(&net, "ours"), ParamsAdamW::default())?;
    let theirs = of(&net, "theirs").into_iter().map(|var| var.var).collect();
    let mut theirs = candle_nn::SGD::new(theirs, 0.1)?;
    let (x, mut plan) = (Tensor::ones((1, 2), DType::F32, &CPU)?, net.plan().clone());
    ours.backward_step(&net.ours.forward(&x)?.sum_all()?)?;
    let bytes = ours.state_bytes();
    plan.freeze("ours")?.train("theirs", 0.5)?;
    assert!(net.apply(&plan, &mut [&mut ours, &mut theirs]).is_err());
    assert_eq!((ours.trained_vars().len(), ours.state_bytes()), (2, bytes));

    // The same for fresh optimizers of a thaw.
    let mut counted = PerParam::<Counted>::with_names(of(&net, "ours"), alive.clone())?;
    assert_eq!(alive.get(), 2);
    net.freeze_front(1, &mut [&mut counted, &mut theirs])?;
    assert_eq!(alive.get(), 0);
    plan.train("ours", 1.0)?;
    assert!(net.apply(&plan, &mut [&mut counted, &mut theirs]).is_err());
    assert_eq!(alive.get(), 0, "made for a thaw that was refused");
    assert_eq!(counted.trained_vars(), 0);
    Ok(())
}

#[test]
fn what_is_prepared_and_dropped_was_never_there() -> Result<()> {
    for policy in [StatePolicy::Drop, StatePolicy::Keep, StatePolicy::Offload] {
        let (here, twin) = (net()?, net()?);
        for (ours, theirs) in here.vars().iter().zip(twin.vars()) {
            theirs.set(ours)?;
        }
        let build = |net: &Freezer<Net>| {
            let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
            opt.set_state_policy(policy);
            let groups = ParamGroups::new().lr_scale("head.**", 0.5)?;
            opt.set_groups(groups)?;
            train(net, &mut opt)?;
            Ok::<_, freeze_core::Error>(opt)
        };
        let (mut ours, mut theirs) = (build(&here)?, build(&twin)?);
        // Another state, and a plan that freezes and scales.
        let mut other = ours.save_state()?;
        other.learning_rate = 0.5;
        for tensor in other.tensors.values_mut() {
            *tensor = (&*tensor + 1.0)?;
        }
        let mut planned = here.planned_vars();
        for (i, var) in planned.iter_mut().enumerate() {
            var.no_decay = true;
            var.state = match i % 2 {
                0 => LeafState::Frozen,
                _ => LeafState::Trained { lr_scale: 0.25 },
            };
        }
        drop(ours.prepare_plan(&planned)?);
        drop(ours.prepare_state(&other, &[])?);
        drop(ours.prepare_state(&other, &planned)?);
        for _ in 0..2 {
            let (left, right) = (ours.save_state()?, theirs.save_state()?);
            assert_eq!(left.learning_rate, right.learning_rate);
            assert_eq!(left.steps, right.steps);
            assert!(left.tensors.keys().eq(right.tensors.keys()));
            for (ours, theirs) in left.tensors.values().zip(right.tensors.values()) {
                assert_eq!(bits(ours)?, bits(theirs)?);
            }
            for (ours, theirs) in here.vars().iter().zip(twin.vars()) {
                assert_eq!(bits(ours)?, bits(&theirs)?);
            }
            train(&here, &mut ours)?;
            train(&twin, &mut theirs)?;
        }
        // What is committed is there.
        ours.prepare_state(&other, &planned)?.commit();
        assert_eq!((ours.learning_rate(), ours.trained_vars().len()), (0.5, planned.len() / 2));
    }
    Ok(())
}

#[test]
fn a_refused_resume_leaves_the_next_step_alone() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.safetensors");
    // Saved with the front frozen, by two optimizers.
    let mut saved = net()?;
    let apart = |net: &Freezer<Net>| {
        let vars = net.planned_vars();
        vars.into_iter().partition::<Vec<_>, _>(|var| &*var.leaf != "head")
    };
    let (body, head) = apart(&saved);
    let mut front = AdamW::with_names(body, ParamsAdamW::default())?;
    let mut back = AdamW::with_names(head, ParamsAdamW::default())?;
    saved.freeze_front(1, &mut [&mut front, &mut back])?;
    Checkpoint::of(&mut saved).optimizer(&mut front).optimizer(&mut back).save(&path)?;

    // The second of those that resume is of another kind.
    for named in [true, false] {
        let (mut here, twin) = (net()?, net()?);
        for (ours, theirs) in here.vars().iter().zip(twin.vars()) {
            theirs.set(ours)?;
        }
        let build = |vars: Vec<PlannedVar>| match named {
            true => AdamW::with_names(vars, ParamsAdamW::default()),
            false => {
                let vars = vars.into_iter().map(|var| var.var).collect();
                Ok(AdamW::new(vars, ParamsAdamW::default())?)
            }
        };
        let (body, head) = apart(&here);
        let mut front = build(body)?;
        front.set_state_policy(StatePolicy::Drop);
        let mut other = Adam::with_names(head, Default::default())?;
        let mut unhurt = build(apart(&twin).0)?;
        train(&here, &mut front)?;
        train(&twin, &mut unhurt)?;
        let refused =
            Checkpoint::of(&mut here).optimizer(&mut front).optimizer(&mut other).resume(&path);
        assert!(refused.unwrap_err().to_string().contains("saved by AdamW"));
        assert_eq!(front.save_state().is_ok(), named, "no name was learnt on the way");
        // The next step takes up nothing of what was read.
        train(&here, &mut front)?;
        train(&twin, &mut unhurt)?;
        for (ours, theirs) in here.vars().iter().zip(twin.vars()) {
            assert_eq!(bits(ours)?, bits(&theirs)?);
        }
        assert_eq!(front.updates(&here.vars()[0]), Some(2));
    }
    Ok(())
}
