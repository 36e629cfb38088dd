//! The run as the library does it.

use std::path::{Path, PathBuf};

use candle_nn::Optimizer;
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim::{GradAccumulator, Momentum, ParamsSgd, Sgd, StatePolicy};
use freeze_core::{
    BatchNormPolicy, Elapsed, FreezePlan, Freezer, LayerFreezing, LeafState, PlanOptimizer, Result,
};

use super::net::{Net, Picture, bits, tensors};
use super::plain::{LR, MOMENTUM};
use super::turn::Turn;

pub struct Real {
    net: Freezer<Net>,
    opt: Sgd,
    sums: GradAccumulator,
    hook: LayerFreezing,
    keep: StatePolicy,
    folder: PathBuf,
}

impl Real {
    pub fn new(seed: u64, folder: &Path) -> Result<Self> {
        let net = Freezer::new(Net::new(seed)?)?;
        let opt = sgd(&net)?;
        let sums = GradAccumulator::new(net.vars());
        let folder = folder.join(seed.to_string());
        std::fs::create_dir(&folder).expect("a folder");
        let (hook, keep) = (LayerFreezing::new(0.0, 1.0)?, StatePolicy::Drop);
        let mut this = Self { net, opt, sums, hook, keep, folder };
        this.net.thaw(&mut [&mut this.opt])?;
        Ok(this)
    }

    pub fn take(&mut self, turn: &Turn) -> Result<()> {
        match turn {
            Turn::Step => self.step()?,
            Turn::StepInATask => {
                let mut result = Ok(());
                rayon::scope(|scope| scope.spawn(|_| result = self.step()));
                result?;
            }
            Turn::Gather => self.sums.accumulate(&self.net.loss(true, true)?)?,
            Turn::Apply => self.sums.step(&mut self.opt)?,
            Turn::FreezeFront(n) => drop(self.net.freeze_front(*n, &mut [&mut self.opt])?),
            Turn::Thaw => drop(self.net.thaw(&mut [&mut self.opt])?),
            Turn::Plan(states) => {
                let mut plan = self.net.plan().clone();
                for (at, share) in states.iter().enumerate() {
                    let state =
                        share.map_or(LeafState::Frozen, |lr_scale| LeafState::Trained { lr_scale });
                    plan.set(at, state)?;
                }
                self.net.apply(&plan, &mut [&mut self.opt])?;
            }
            Turn::PlanWithoutOptimizer(n) => drop(self.net.freeze_front(*n, &mut [])?),
            Turn::RefusedPlan => {
                let other = Net::new(9)?.block;
                let plan = FreezePlan::front_frozen(&other, 1)?;
                self.net.apply(&plan, &mut [&mut self.opt])?;
            }
            Turn::Schedule(epoch) => {
                let elapsed = Elapsed::new(*epoch, 4);
                self.hook = LayerFreezing::new(0.0, 1.0)?;
                self.hook.epoch_end(&mut self.net, &mut [&mut self.opt], elapsed)?;
            }
            Turn::RefusedSchedule => {
                let elapsed = Elapsed::new(5, 4);
                self.hook.epoch_end(&mut self.net, &mut [&mut self.opt], elapsed)?;
            }
            Turn::KeepState(keep) => {
                self.keep = if *keep { StatePolicy::Keep } else { StatePolicy::Drop };
                self.opt.set_state_policy(self.keep);
            }
            Turn::Inference(inference) => {
                let policy = match inference {
                    true => BatchNormPolicy::Inference,
                    false => BatchNormPolicy::AsCaller,
                };
                self.net.set_batch_norm(policy)?;
            }
            Turn::NewOptimizer => {
                self.opt = sgd(&self.net)?;
                self.opt.set_state_policy(self.keep);
            }
            Turn::Save(slot) => {
                let path = self.path(*slot);
                self.parts().save(path)?;
            }
            Turn::Resume(slot) => {
                let path = self.path(*slot);
                self.parts().resume(path)?;
            }
            Turn::RefusedResume => {
                let path = self.folder.join("damaged.safetensors");
                self.parts().save(&path)?;
                let mut bytes = std::fs::read(&path).expect("the file");
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                std::fs::write(&path, bytes).expect("the file");
                self.parts().resume(path)?;
            }
            Turn::Evaluate => {
                let view = self.net.frozen_view()?;
                let evaluated = std::thread::spawn(move || view.loss(false, false)).join();
                let loss = evaluated.expect("no panic")?;
                assert!(loss.sorted_nodes().is_empty());
            }
        }
        self.sums.follow(&self.net.planned_vars());
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        Ok(self.opt.backward_step(&self.net.loss(true, true)?)?)
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.folder.join(format!("{slot}.safetensors"))
    }

    fn parts(&mut self) -> Checkpoint<'_, Net> {
        Checkpoint::of(&mut self.net).optimizer(&mut self.opt).accumulator(&mut self.sums)
    }

    pub fn picture(&mut self) -> Picture {
        let state = self.opt.save_state().expect("a state");
        let moment = |(name, steps): (&String, &u64)| {
            let moment = state.tensors.get(&format!("momentum/{name}"))?;
            Some((name.clone(), bits(moment), *steps))
        };
        let trained = self.net.planned_vars().into_iter();
        let trained = trained.filter(|var| !var.state.is_frozen()).map(|var| var.name.to_string());
        Picture {
            tensors: tensors(self.net.whole()),
            moments: state.steps.iter().filter_map(moment).collect(),
            state_bytes: self.opt.state_bytes(),
            trained: trained.collect(),
            dropout_position: self.net.whole().block.dropout.state().position,
        }
    }
}

fn sgd(net: &Freezer<Net>) -> Result<Sgd> {
    let params = ParamsSgd { lr: LR, momentum: Momentum::Heavy(MOMENTUM), ..Default::default() };
    Sgd::with_names(net.planned_vars(), params)
}
