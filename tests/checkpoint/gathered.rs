//! A run that stops between micro-batches.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, ParamsAdamW, VarBuilder, VarMap, linear};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim::{AdamW, GradAccumulator};
use freeze_core::{Freezable, Freezer, Result};

use crate::rig::bits;

#[derive(Freezable)]
struct Net {
    body: Linear,
    head: Linear,
}

struct Run {
    net: Freezer<Net>,
    opt: AdamW,
    sums: GradAccumulator,
}

impl Run {
    fn new(dtype: DType) -> Result<Self> {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, dtype, &Device::Cpu);
        let net = Net { body: linear(3, 3, vb.pp("b"))?, head: linear(3, 2, vb.pp("h"))? };
        let net = Freezer::new(net)?;
        let opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
        let sums = GradAccumulator::new(net.vars());
        Ok(Self { net, opt, sums })
    }

    fn gather(&mut self, micro_batch: usize) -> Result<()> {
        let xs = Tensor::full(0.1 + micro_batch as f32, (2, 3), &Device::Cpu)?;
        let xs = xs.to_dtype(self.net.head.weight().dtype())?;
        let loss =
            self.net.head.forward(&self.net.body.forward(&xs)?.gelu()?)?.sqr()?.mean_all()?;
        self.sums.accumulate_weighted(&loss, 1.0 + micro_batch as f64)
    }

    fn checkpoint(&mut self) -> Checkpoint<'_, Net> {
        Checkpoint::of(&mut self.net).optimizer(&mut self.opt).accumulator(&mut self.sums)
    }

    fn weights(&self) -> Result<Vec<Vec<u64>>> {
        Ok(self.net.whole().named_tensors()?.iter().map(|(_, tensor)| bits(tensor)).collect())
    }
}

#[test]
fn micro_batches_gathered_before_a_stop_count_after_it() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    // Micro-batches before the stop, of four; the body frozen after some.
    let stops = [(0, None), (1, None), (3, None), (3, Some(2)), (2, Some(2))];
    let dtypes = [DType::F32, DType::BF16];
    for ((before, frozen_after), dtype) in
        stops.into_iter().flat_map(|stop| dtypes.map(|dtype| (stop, dtype)))
    {
        let (mut run, mut resumed) = (Run::new(dtype)?, Run::new(dtype)?);
        // Moments, and the masters of half precision.
        run.gather(5)?;
        run.sums.step(&mut run.opt)?;
        for micro_batch in 0..before {
            if frozen_after == Some(micro_batch) {
                run.net.freeze_front(1, &mut [&mut run.opt])?;
                run.sums.follow(&run.net.planned_vars());
            }
            run.gather(micro_batch)?;
        }
        run.checkpoint().save(&path)?;
        // What was gathered here goes.
        resumed.gather(7)?;
        resumed.checkpoint().resume(&path)?;
        for run in [&mut run, &mut resumed] {
            for micro_batch in before..4 {
                run.gather(micro_batch)?;
            }
            run.sums.step(&mut run.opt)?;
        }
        assert_eq!(resumed.weights()?, run.weights()?, "{before} {frozen_after:?} {dtype:?}");
    }
    Ok(())
}

#[test]
fn sums_of_other_variables_are_refused() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [with, without, no] = ["with", "without", "no"].map(|name| dir.path().join(name));
    let mut run = Run::new(DType::F32)?;
    run.gather(0)?;
    run.checkpoint().save(&with)?;
    Checkpoint::of(&mut run.net).optimizer(&mut run.opt).save(&without)?;
    let mut other = Run::new(DType::F32)?;
    other.gather(1)?;
    let (mut weights, mut part) =
        (other.weights()?, GradAccumulator::new(other.net.vars()[2..].to_vec()));
    let mut refused = |says: &str, act: &mut dyn FnMut(&mut Run) -> Result<()>| -> Result<()> {
        let error = act(&mut other).expect_err(says).to_string();
        assert!(error.contains(says), "`{says}` is not in: {error}");
        assert_eq!(other.weights()?, weights);
        Ok(())
    };
    refused("its accumulator of gradients was not handed over", &mut |run| {
        Checkpoint::of(&mut run.net).optimizer(&mut run.opt).resume(&with).map(drop)
    })?;
    refused("it has no accumulator of gradients", &mut |run| {
        run.checkpoint().resume(&without).map(drop)
    })?;
    refused("`body.bias` is none of its variables", &mut |run| {
        let run = Checkpoint::of(&mut run.net).optimizer(&mut run.opt);
        run.accumulator(&mut part).resume(&with).map(drop)
    })?;
    let mut strangers = Run::new(DType::F32)?;
    strangers.gather(0)?;
    refused("what was gathered for variable 0: the variable is not the model's", &mut |run| {
        let run = Checkpoint::of(&mut run.net).optimizer(&mut run.opt);
        run.accumulator(&mut strangers.sums).save(&no)
    })?;
    assert!(!no.exists());
    // Nothing that was refused took what had been gathered.
    let mut twin = Run::new(DType::F32)?;
    other.checkpoint().save(&with)?;
    twin.checkpoint().resume(&with)?;
    for run in [&mut other, &mut twin] {
        run.sums.step(&mut run.opt)?;
    }
    weights = twin.weights()?;
    assert_eq!(other.weights()?, weights);
    Ok(())
}
