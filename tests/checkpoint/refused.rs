//! A refused resume leaves nothing behind that a later plan or step could take up.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
use freeze_core::checkpoint::{Checkpoint, MetricHistory};
use freeze_core::nn::{Dropout, DropoutState};
use freeze_core::optim::{AdamW, GradAccumulator, Momentum, ParamsSgd, Sgd};
use freeze_core::{Elapsed, Freezable, Freezer, PlanOptimizer, Policy, Result};

use crate::craft::Parts;
use crate::hooks::OneMore;
use crate::rig::bits;

#[derive(Freezable)]
struct Net {
    body: Linear,
    drop: Dropout,
    head: Linear,
}

/// Two optimizers, so that one may have prepared when the other refuses.
struct Run {
    net: Freezer<Net>,
    sgd: Sgd,
    adamw: AdamW,
    sums: GradAccumulator,
    schedule: OneMore,
    shuffle: u64,
    history: MetricHistory,
}

/// All of a run that can differ.
type State = (Vec<Vec<u64>>, Vec<String>, DropoutState, u64, usize, serde_json::Value);

impl Run {
    /// Optimizers without names, which a plan or a checkpoint lends them.
    fn new(seed: u64) -> Result<Self> {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let net = Freezer::new(Net {
            body: linear(3, 3, vb.pp("b"))?,
            drop: Dropout::new(0.2, seed)?,
            head: linear(3, 2, vb.pp("h"))?,
        })?;
        let vars = net.vars();
        let momentum = ParamsSgd { lr: 0.1, momentum: Momentum::Heavy(0.9), ..Default::default() };
        Ok(Self {
            sgd: Sgd::new(vars[..2].to_vec(), momentum)?,
            adamw: AdamW::new(vars[2..].to_vec(), ParamsAdamW::default())?,
            sums: GradAccumulator::new(vars),
            net,
            schedule: OneMore::default(),
            shuffle: seed,
            history: MetricHistory::default(),
        })
    }

    fn loss(&self) -> Result<Tensor> {
        let xs = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
        let xs = self.net.drop.forward(&self.net.body.forward(&xs)?, true)?;
        Ok(self.net.head.forward(&xs)?.sqr()?.mean_all()?)
    }

    /// A step, a metric, and a micro-batch of the next step.
    fn step(&mut self) -> Result<()> {
        self.sums.accumulate(&self.loss()?)?;
        let grads = self.sums.take()?;
        self.sgd.step(&grads)?;
        self.adamw.step(&grads)?;
        self.history.record("loss", 0.5, Elapsed::new(1, 9));
        self.shuffle = self.shuffle.wrapping_mul(31) + 1;
        self.sums.accumulate(&self.loss()?)
    }

    fn checkpoint(&mut self) -> Checkpoint<'_, Net> {
        Checkpoint::of(&mut self.net)
            .optimizer(&mut self.sgd)
            .optimizer(&mut self.adamw)
            .accumulator(&mut self.sums)
            .policy(&mut self.schedule)
            .random("shuffle", &mut self.shuffle)
            .history(&mut self.history)
    }

    fn freeze_front(&mut self, depth: usize) -> Result<()> {
        self.net.freeze_front(depth, &mut [&mut self.sgd, &mut self.adamw])?;
        self.sums.follow(&self.net.planned_vars());
        Ok(())
    }

    fn state(&mut self) -> Result<State> {
        let weights = self.net.whole().named_tensors()?;
        let mut optimizers = Vec::new();
        for optimizer in [&mut self.sgd as &mut dyn PlanOptimizer, &mut self.adamw] {
            let state = optimizer.save_state_as(&self.net.planned_vars())?;
            let tensors: Vec<_> = state.tensors.iter().map(|(n, t)| (n, bits(t))).collect();
            let rate = state.learning_rate;
            optimizers.push(format!("{rate} {:?} {tensors:?}", state.steps));
        }
        Ok((
            weights.iter().map(|(_, tensor)| bits(tensor)).collect(),
            optimizers,
            self.net.drop.state(),
            self.shuffle,
            self.history.records().len(),
            self.schedule.state(),
        ))
    }
}

#[test]
fn what_a_refused_resume_prepared_is_never_taken_up() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [bad, now] = ["bad", "now"].map(|name| dir.path().join(name));
    // A frozen body and other numbers everywhere, which must not come through.
    let mut other = Run::new(5)?;
    other.step()?;
    other.step()?;
    other.freeze_front(1)?;
    other.step()?;
    other.checkpoint().save(&bad)?;
    let file = std::fs::read(&bad).expect("the file");

    type Change = fn(&mut serde_json::Value);
    let rows: [(Change, &str); 6] = [
        (|state| state["optimizers"][0]["kind"] = "Adam".into(), "it was saved by Adam"),
        (|state| state["optimizers"][1]["kind"] = "Adam".into(), "it was saved by Adam"),
        (|state| state["optimizers"][1]["learning_rate"] = (-1.0).into(), "is -1"),
        (|state| state["policy"]["state"] = "x".into(), "expected a number"),
        (|state| state["metrics"] = serde_json::json!([]), "its history of metrics is not one"),
        (
            |state| drop(state["base_plan"]["leaves"].as_array_mut().map(Vec::pop)),
            "it has 1 leaves",
        ),
    ];
    for fresh in [true, false] {
        for (change, says) in &rows {
            let mut parts = Parts::of(&file);
            let mut state = parts.state();
            change(&mut state);
            parts.seal(&state);
            std::fs::write(&bad, parts.to_bytes()).expect("a changed file");
            let (mut tried, mut never) = (Run::new(1)?, Run::new(2)?);
            if !fresh {
                tried.step()?;
            }
            tried.checkpoint().save(&now)?;
            never.checkpoint().resume(&now)?;
            let error = tried.checkpoint().resume(&bad).expect_err(says).to_string();
            assert!(error.contains(says), "`{says}` is not in: {error}");
            // With and without a plan on the way.
            for depth in [None, Some(1), Some(0)] {
                for run in [&mut tried, &mut never] {
                    depth.map(|depth| run.freeze_front(depth)).transpose()?;
                    run.step()?;
                }
                assert_eq!(tried.state()?, never.state()?, "{says} {depth:?}");
            }
        }
    }
    Ok(())
}
