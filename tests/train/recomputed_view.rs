//! A recomputed forward makes its view once for each plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Module, Tensor};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::{
    BatchNormPolicy, Freezable, Freezer, LeafTree, Mapper, Recompute, Result, Staged, backward,
};

/// A layer that counts how often it is walked.
struct Counted {
    layer: Linear,
    walks: Arc<AtomicUsize>,
}

impl Freezable for Counted {
    const LEAVES: LeafTree = Linear::LEAVES;

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.walks.fetch_add(1, Ordering::Relaxed);
        Ok(Self { layer: self.layer.map_params(mapper)?, walks: Arc::clone(&self.walks) })
    }
}

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    stem: Counted,
    blocks: Vec<Linear>,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> candle_core::Result<Tensor> {
        match stage {
            NetStage::Stem => self.stem.layer.forward(&xs),
            NetStage::Blocks(i) => self.blocks[i].forward(&xs)?.tanh(),
        }
    }
}

fn net() -> candle_core::Result<Net> {
    let vb = Seeded::builder(4, DType::F32, &Device::Cpu);
    let part = |name: String| linear(4, 4, vb.pp(name));
    let stem = Counted { layer: part("stem".into())?, walks: Arc::default() };
    Ok(Net { stem, blocks: (0..3).map(|i| part(format!("b{i}"))).collect::<Result<_, _>>()? })
}

/// The bits of the result and of every gradient.
type Outcome = (Vec<u32>, Vec<Option<Vec<u32>>>);

fn outcome(net: &Freezer<Net>, ys: &Tensor) -> Result<Outcome> {
    let bits = |tensor: &Tensor| -> Result<Vec<u32>> {
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok(numbers.into_iter().map(f32::to_bits).collect())
    };
    let grads = backward(&ys.sqr()?.sum_all()?)?;
    let grads =
        net.vars().iter().map(|var| grads.get(var).map(bits).transpose()).collect::<Vec<_>>();
    Ok((bits(ys)?, grads.into_iter().collect::<Result<_>>()?))
}

#[test]
fn a_steady_step_walks_and_builds_nothing() -> Result<()> {
    let mut net = Freezer::new(net()?)?;
    let walks = Arc::clone(&net.whole().stem.walks);
    let xs = Tensor::new(&[[0.5f32, -1., 2., 0.1], [1., 0., -0.3, 0.7]], &Device::Cpu)?;
    type Change = fn(&mut Freezer<Net>) -> Result<()>;
    // The last two leave the view as it is.
    let rows: [(&str, Change, bool); 6] = [
        ("new", |_| Ok(()), true),
        ("frozen", |net| net.freeze_front(2, &mut []).map(drop), true),
        ("thawed", |net| net.thaw(&mut []).map(drop), true),
        ("batch norms", |net| net.set_batch_norm(BatchNormPolicy::Inference), true),
        ("the same plan", |net| net.thaw(&mut []).map(drop), false),
        ("nothing", |_| Ok(()), false),
    ];
    for (what, change, is_new) in rows {
        change(&mut net)?;
        for (step, choice) in [1, 1, 2, 3].into_iter().enumerate() {
            let before = walks.load(Ordering::Relaxed);
            let ys = Recompute::every(choice)?.forward(&net, xs.clone(), ())?;
            let walked = walks.load(Ordering::Relaxed) > before;
            assert_eq!(walked, is_new && step == 0, "{what}, step {step}");
            let plain = net.forward(xs.clone(), &())?;
            assert!(outcome(&net, &ys)? == outcome(&net, &plain)?, "{what}, step {step}");
        }
    }
    Ok(())
}
