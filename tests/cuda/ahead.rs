//! Records on the host that come to the card while the step before runs: the same bits, whatever was told of the order.

use candle_core::{DType, Device, Tensor};
use candle_nn::Module;
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::{ActivationCache, Flow, Freezable, Freezer, Staged};

use crate::card;
use crate::support::flat;

type Result<T = ()> = freeze_core::Result<T>;

const SAMPLES: usize = 12;

/// What the front gives: of several types and sizes, one of which makes the others of odd places.
#[derive(Flow)]
struct Parts {
    hidden: Tensor,
    bytes: Tensor,
    halves: Vec<Tensor>,
    wide: Option<Tensor>,
}

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    front: Linear,
    head: Linear,
}

impl Net {
    fn frozen(device: &Device) -> Result<Freezer<Self>> {
        let vb = Seeded::builder(7, DType::F32, device);
        let (front, head) = (linear(3, 5, vb.pp("front"))?, linear(5, 2, vb.pp("head"))?);
        let mut net = Freezer::new(Self { front, head })?;
        net.freeze_front(1, &mut [])?;
        Ok(net)
    }
}

impl Staged for Net {
    type Flow = Parts;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Parts, (): &()) -> candle_core::Result<Parts> {
        match stage {
            NetStage::Front => {
                let hidden = self.front.forward(&xs.hidden)?;
                let bytes = hidden.narrow(1, 0, 1)?.affine(3.0, 90.0)?.to_dtype(DType::U8)?;
                let halves = vec![hidden.to_dtype(DType::BF16)?, hidden.to_dtype(DType::F16)?];
                let wide = Some(bytes.to_dtype(DType::I64)?);
                Ok(Parts { hidden, bytes, halves, wide })
            }
            NetStage::Head => {
                let mut sum = self.head.forward(&xs.hidden)?;
                for part in xs.halves.iter().chain([&xs.bytes]).chain(&xs.wide) {
                    sum = sum.broadcast_add(&part.to_dtype(DType::F32)?.sum_keepdim(1)?)?;
                }
                Ok(Parts { hidden: sum, ..xs })
            }
        }
    }
}

/// Samples of a layout that has so many bytes, which mean nothing.
fn batch(which: &[u32], width: usize, card: &Device) -> Result<(Vec<u64>, Parts)> {
    let hidden: Vec<f32> =
        which.iter().flat_map(|i| [*i as f32, 0.3 * *i as f32, -1.0 / (1.0 + *i as f32)]).collect();
    let hidden = Tensor::from_vec(hidden, (which.len(), 3), card)?;
    let bytes = Tensor::zeros((which.len(), width), DType::U8, card)?;
    let keys = which.iter().map(|i| 50 + u64::from(*i)).collect();
    Ok((keys, Parts { hidden, bytes, halves: Vec::new(), wide: None }))
}

/// What is told, what is asked for, whether tensors were made of all that is, and how many of its rows the thread read.
type Row = (&'static [u32], &'static [u32], bool, u64);

#[test]
fn whatever_is_told_of_the_order() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let all: Vec<u32> = (0..SAMPLES as u32).collect();
    let rows: [Row; 9] = [
        (&[], &[3, 1, 2], false, 0),
        (&[3, 1, 2], &[3, 1, 2], true, 3),
        (&[3, 1, 2], &[1, 2, 3], true, 3),
        (&[0, 5, 7, 9, 11], &[9, 0, 7], true, 3),
        (&[4, 5, 5, 4, 6], &[4, 5, 5, 4, 6], true, 3),
        (&[1, 2], &[1, 2, 3], false, 2),
        (&[8, 9], &[10, 11], false, 0),
        (&[0, 99], &[0, 1], false, 1),
        (&[99], &[6, 7], false, 0),
    ];
    let net = Net::frozen(&card)?;
    for kept in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        for [memory, disk] in [[1 << 20, 0], [0, 1 << 20], [100, 1 << 20]] {
            let places = format!("{memory} bytes in memory, {disk} in files, kept: {kept}");
            let cache = ActivationCache::new().memory(memory);
            let mut cache = match kept {
                false => cache.folder(folder.path(), disk),
                true => cache.kept(folder.path(), disk).version(places.as_str()),
            };
            let (keys, xs) = batch(&all, 1, &card)?;
            cache.forward(&net, &keys, xs, &())?;
            for (told, asked, all_made, read) in rows {
                let context = format!("{places}, told {told:?}, asked {asked:?}");
                let before = cache.stats();
                if !told.is_empty() {
                    cache.read_ahead(&batch(told, 1, &card)?.0);
                }
                let (keys, xs) = batch(asked, 1, &card)?;
                let found = cache.forward(&net, &keys, xs, &())?;
                let (_, xs) = batch(asked, 1, &card)?;
                let plain = net.forward(xs, &())?;
                for (found, plain) in found.tensors().iter().zip(plain.tensors()) {
                    assert_eq!(found.dtype(), plain.dtype(), "{context}");
                    assert_eq!(flat(found), flat(&plain), "{context}");
                }
                let stats = cache.stats().since(&before);
                assert_eq!(stats.misses, 0, "{context}");
                // What is not made tensors of is read from memory as always, and from files as it was read ahead.
                let expected = match (all_made, memory, disk) {
                    (true, ..) | (false, 0, _) => read..=read,
                    (false, _, 0) => 0..=0,
                    _ => 0..=read,
                };
                assert!(expected.contains(&stats.read_ahead), "{context}: {}", stats.read_ahead);
            }
        }
    }
    Ok(())
}

/// A sample may have a record of each layout. What comes is of that which has most of them, or else came last.
#[test]
fn whichever_layout_the_batch_has() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let net = Net::frozen(&card)?;
    let mut cache = ActivationCache::new();
    for (which, width) in [([0u32, 1, 2, 3, 4, 5, 6], 1), ([5, 6, 7, 8, 9, 10, 11], 2)] {
        let (keys, xs) = batch(&which, width, &card)?;
        cache.forward(&net, &keys, xs, &())?;
    }
    let rows: [(&[u32], usize, u64); 7] = [
        (&[0, 1], 1, 2),
        (&[8, 9], 2, 2),
        (&[2, 1], 1, 2),
        (&[5, 6], 1, 2),
        (&[5, 6], 2, 0),
        (&[5, 6], 2, 2),
        (&[6, 5, 0], 1, 3),
    ];
    for (which, width, read) in rows {
        let before = cache.stats();
        let (keys, xs) = batch(which, width, &card)?;
        cache.read_ahead(&keys);
        cache.forward(&net, &keys, xs, &())?;
        let since = cache.stats().since(&before);
        assert_eq!(
            (since.hits, since.read_ahead),
            (which.len() as u64, read),
            "{which:?}, {width}"
        );
    }
    Ok(())
}
