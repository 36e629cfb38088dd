//! Records that were brought to the device ahead of time; on the CPU, with what makes tensors there.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};

use crate::cache::store::Lift;
use crate::init::Seeded;
use crate::{ActivationCache, Freezer, Staged};

#[derive(freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
struct Net {
    front: Linear,
    head: Linear,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
        match stage {
            NetStage::Front => self.front.forward(&xs),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

/// Makes tensors of rows of five numbers, with `tail` bytes behind each.
fn lift(tail: usize) -> Lift {
    Lift(Arc::new(move |bytes: &[u8]| {
        let rows: Vec<f32> = bytes
            .chunks_exact(5 * 4 + tail)
            .flat_map(|row| row[..5 * 4].as_chunks::<4>().0)
            .map(|number| f32::from_le_bytes(*number))
            .collect();
        Ok(vec![Tensor::from_slice(&rows, (rows.len() / 5, 5), &Device::Cpu)?])
    }))
}

#[test]
fn what_came_ahead_is_taken_as_it_is() -> crate::Result<()> {
    let vb: VarBuilder<'_> = Seeded::builder(3, DType::F32, &Device::Cpu);
    let (front, head) = (linear(3, 5, vb.pp("front"))?, linear(5, 2, vb.pp("head"))?);
    let mut net = Freezer::new(Net { front, head })?;
    net.freeze_front(1, &mut [])?;
    let all = Tensor::arange(0f32, 24., &Device::Cpu)?.reshape((8, 3))?;
    let folder = tempfile::tempdir().expect("a folder");
    for (kept, tail) in [(false, 0), (true, 8)] {
        let mut cache = match kept {
            false => ActivationCache::new(),
            true => ActivationCache::new().memory(0).kept(folder.path(), 1 << 20),
        };
        let keys: Vec<u64> = (0..8).collect();
        cache.forward(&net, &keys, all.clone(), &())?;
        assert_eq!(cache.classes[0].shelves.tail(), tail);
        cache.classes[0].lifts.insert(1, Some(lift(tail)));
        for (told, asked) in [(&[1u64, 4, 6][..], [1u32, 4, 6]), (&[6, 0, 2, 7], [7, 6, 2])] {
            let before = cache.stats();
            cache.read_ahead(told);
            let keys: Vec<u64> = asked.map(u64::from).to_vec();
            let xs = all.index_select(&Tensor::new(&asked, &Device::Cpu)?, 0)?;
            let found = cache.forward(&net, &keys, xs.clone(), &())?;
            let plain = net.forward(xs, &())?;
            assert_eq!(found.to_vec2::<f32>()?, plain.to_vec2::<f32>()?);
            let stats = cache.stats().since(&before);
            let read = (stats.hits, stats.read_ahead, stats.misses);
            assert_eq!(read, (3, 3, 0), "kept: {kept}, {told:?}, {asked:?}");
        }
    }
    Ok(())
}
