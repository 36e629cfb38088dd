//! Records of frozen stages on the card: losses and weights are those without, bit for bit.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, ParamsAdamW};
use freeze_core::cache::{CacheStats, Precision};
use freeze_core::init::Seeded;
use freeze_core::nn::{self, Dropout, Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::{ActivationCache, Freezable, Recompute, Staged, Training};

use crate::card;
use crate::support::{flat, random};

type Result<T = ()> = freeze_core::Result<T>;

const EPOCHS: usize = 7;
/// Whole batches, of as many as a part of a batch is filled up to: products of one size alone.
const SAMPLES: usize = 24;
const SIZE: usize = 8;
/// Bytes of a record in front of the first three blocks.
const RECORD: u64 = 6 * 4;

/// Six leaves.
#[derive(Freezable)]
#[freeze(stages)]
pub(crate) struct Net {
    stem: Linear,
    blocks: Vec<Linear>,
    pub(crate) dropout: Dropout,
    head: Linear,
}

impl Net {
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let vb = Seeded::builder(1, DType::F32, device);
        let sizes = [(6, 6), (6, 6), (6, 6), (6, 10)].into_iter().enumerate();
        let block = |(i, (from, to))| linear(from, to, vb.pp(format!("blocks.{i}")));
        Ok(Self {
            stem: linear(5, 6, vb.pp("stem"))?,
            blocks: sizes.map(block).collect::<candle_core::Result<_>>()?,
            dropout: Dropout::new(0.2, 1)?,
            head: linear(10, 3, vb.pp("head"))?,
        })
    }
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> candle_core::Result<Tensor> {
        match stage {
            NetStage::Stem => nn::ops::gelu(&self.stem.forward(&xs)?),
            NetStage::Blocks(i) => nn::ops::gelu(&self.blocks[i].forward(&xs)?),
            NetStage::Dropout => self.dropout.forward(&xs, true),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

fn keys(which: &[u32]) -> Vec<u64> {
    which.iter().map(|&i| 1000 + u64::from(i)).collect()
}

pub(crate) fn batch(which: &[u32], device: &Device) -> Result<(Vec<u64>, Tensor, Tensor)> {
    let xs =
        random(5, (SAMPLES, 5), DType::F32).index_select(&Tensor::new(which, &Device::Cpu)?, 0)?;
    let ys: Vec<u32> = which.iter().map(|i| i * 7 % 3).collect();
    Ok((keys(which), xs.to_device(device)?, Tensor::new(ys, device)?))
}

fn run(device: &Device) -> Result<Training<Net>> {
    let params = ParamsAdamW { lr: 0.02, ..Default::default() };
    Training::new(Net::new(device)?)?
        .seed(3)
        .optimizer(|vars| AdamW::with_names(vars, params))?
        .length(EPOCHS, SAMPLES / SIZE)
}

/// Every loss, the scores of an evaluation after each epoch, and at the end every tensor.
type Course = (Vec<u64>, Vec<Vec<f64>>, Vec<Vec<f64>>);

/// Runs to the end: the front grows, is thawed, grows again. The cache is told the order of each epoch.
fn course(
    run: &mut Training<Net>,
    device: &Device,
    mut between: impl FnMut(&mut Training<Net>, usize) -> Result,
) -> Result<(Course, Vec<CacheStats>)> {
    let (mut losses, mut evaluated, mut stats) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(epoch) = run.next_epoch()? {
        run.read_ahead(epoch.shuffled(SAMPLES, SIZE).map(|which| keys(&which)));
        for which in epoch.shuffled(SAMPLES, SIZE) {
            let (keys, xs, ys) = batch(&which, device)?;
            let scores = run.forward(&keys, xs, &())?;
            losses.push(run.step(&nn::cross_entropy(&scores, &ys, None)?)?.loss.to_bits());
        }
        let (_, xs, _) = batch(&[3, 1, 4], device)?;
        evaluated.push(flat(&run.model().forward(xs, &())?));
        stats.extend(run.epoch_end([])?.cache);
        let leaves = [2, 2, 3, 5, 0, 3, 3][epoch.index];
        run.freeze_front(leaves)?;
        between(run, epoch.index)?;
    }
    let tensors = run.freezer().named_tensors()?;
    let tensors = tensors.iter().map(|(_, tensor)| flat(tensor)).collect();
    Ok(((losses, evaluated, tensors), stats))
}

fn fit_on_card(bytes: u64) -> u64 {
    (bytes / RECORD).min(SAMPLES as u64)
}

#[test]
fn whatever_the_budgets() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let (plain, _) = course(&mut run(&card)?, &card, |_, _| Ok(()))?;
    let half = SAMPLES as u64 / 2 * RECORD;
    for recompute in [None, Some(1)] {
        for device in [0, 1, half + RECORD - 1, 1 << 30] {
            for host in [0, half] {
                let context = format!("{device} on the card, {host} on the host, {recompute:?}");
                let cache = ActivationCache::new().device_memory(device).memory(host);
                let mut run = run(&card)?.cache(cache);
                if let Some(n) = recompute {
                    run = run.recompute(Recompute::every(n)?);
                }
                let (cached, stats) = course(&mut run, &card, |_, _| Ok(()))?;
                assert!(cached == plain, "{context}: another course");
                for (epoch, stats) in stats.iter().enumerate() {
                    assert!(stats.device_bytes <= device, "{context}, epoch {epoch}: {stats}");
                    assert!(stats.memory_bytes <= host, "{context}, epoch {epoch}: {stats}");
                }
                // After blocks.0 in the third epoch and blocks.1 in the fourth; the width is the same.
                for stats in &stats[2..4] {
                    let fit = (device / RECORD + host / RECORD).min(SAMPLES as u64);
                    assert_eq!(stats.records as u64, fit, "{context}: {stats}");
                }
                assert_eq!((stats[2].hits + stats[2].misses, stats[2].extended), (24, 0));
                // What does not come from the card comes from the thread.
                let far = (host / RECORD).min(SAMPLES as u64 - fit_on_card(device));
                assert_eq!(stats[2].read_ahead, far, "{context}: {}", stats[2]);
                if device == 1 << 30 {
                    assert!(stats.iter().all(|stats| stats.memory_bytes == 0), "{context}");
                    let counts = |at: usize| [stats[at].misses, stats[at].hits, stats[at].extended];
                    let all = SAMPLES as u64;
                    let expected = [
                        [0, 0, 0],
                        [all, 0, 0],
                        [0, all, 0],
                        [0, 0, all],
                        [0, 0, all],
                        [0; 3],
                        [all, 0, 0],
                    ];
                    for (at, expected) in expected.into_iter().enumerate() {
                        assert_eq!(counts(at), expected, "{context}, epoch {at}");
                    }
                    assert!(stats[4].device_bytes > 0 && stats[5].device_bytes == 0, "{context}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn rounded_records_are_those_of_the_host() -> Result {
    let Some(card) = card() else { return Ok(()) };
    for precision in [Precision::F16, Precision::BF16] {
        let half = SAMPLES as u64 / 2 * RECORD / 2;
        let mut courses = Vec::new();
        for device in [0, half, 1 << 30] {
            let cache = ActivationCache::new().precision(precision).device_memory(device);
            courses.push(course(&mut run(&card)?.cache(cache), &card, |_, _| Ok(()))?.0);
        }
        assert!(courses.iter().all(|course| *course == courses[0]), "{precision:?}");
    }
    Ok(())
}

#[test]
fn a_run_that_is_resumed_is_the_same_run() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.safetensors");
    let cache = || ActivationCache::new().device_memory(1 << 20);
    let mut whole = run(&card)?.cache(cache());
    let save = |run: &mut Training<Net>, epoch| if epoch == 2 { run.save(&file) } else { Ok(()) };
    let (expected, _) = course(&mut whole, &card, save)?;
    let mut resumed = run(&card)?.cache(cache());
    resumed.resume_from(&file)?;
    let (found, _) = course(&mut resumed, &card, |_, _| Ok(()))?;
    let behind = expected.0.len() - found.0.len();
    assert_eq!(found.0, expected.0[behind..]);
    assert!(found.2 == expected.2);
    // Back to where it was, with what is on the card since.
    whole.resume_from(&file)?;
    let (found, _) = course(&mut whole, &card, |_, _| Ok(()))?;
    assert_eq!(found.0, expected.0[behind..]);
    assert!(found.2 == expected.2);
    Ok(())
}

/// Records on the card are written to files too, and those that are read from there come to the card.
#[test]
fn records_of_another_run_come_to_the_card() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let (plain, _) = course(&mut run(&card)?, &card, |_, _| Ok(()))?;
    for device in [0, SAMPLES as u64 / 2 * RECORD, 1 << 20] {
        let folder = tempfile::tempdir().expect("a folder");
        for again in [false, true] {
            let context = format!("{device} bytes on the card, again: {again}");
            let cache = ActivationCache::new().device_memory(device).kept(folder.path(), 1 << 20);
            let (cached, stats) = course(&mut run(&card)?.cache(cache), &card, |_, _| Ok(()))?;
            assert!(cached == plain, "{context}");
            let misses = if again { 0 } else { SAMPLES as u64 };
            // A few samples run to find the layout.
            assert_eq!(
                (stats[1].misses, stats[1].hits),
                (misses, SAMPLES as u64 - misses),
                "{context}"
            );
            assert_eq!(stats[2].hits, SAMPLES as u64, "{context}");
            assert_eq!(stats[2].records, SAMPLES, "{context}");
            assert_eq!(stats[2].device_bytes > 0, device > 0, "{context}");
        }
    }
    Ok(())
}

/// As in `steady`: while a stream is captured, every wait is an error.
#[cfg(feature = "cuda")]
#[test]
fn nothing_waits_for_the_card_where_records_are_there() -> Result {
    use candle_core::cuda_backend::cudarc::driver::sys::{
        CUgraphInstantiate_flags, CUstreamCaptureMode,
    };
    use freeze_core::Freezer;

    let Some(card) = card() else { return Ok(()) };
    let mut net = Freezer::new(Net::new(&card)?)?;
    net.freeze_front(3, &mut [])?;
    let mut cache = ActivationCache::new().device_memory(1 << 22).unchecked_inputs();
    let batches =
        [[0u32, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17, 18, 19]];
    let batches = batches.map(|which| batch(&which, &card).expect("a batch"));
    // The first is tried, and then read; the second is there in part.
    for which in [0, 0, 1, 1] {
        let (keys, xs, _) = &batches[which];
        cache.forward(&net, keys, xs.clone(), &())?;
    }
    card.synchronize()?;
    let stream = card.as_cuda_device()?.cuda_stream();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).expect("a capture");
    let mut captured = Vec::new();
    for which in [0, 1, 2] {
        let (keys, xs, _) = &batches[which];
        captured.push(cache.forward(&net, keys, xs.clone(), &()).map(drop));
    }
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let ended = stream.end_capture(flags);
    captured.into_iter().collect::<Result<Vec<()>>>()?;
    assert!(ended.expect("an end").is_some(), "work was captured");
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits), (8 + 4 + 8, 8 + 4 + 8 + 8 + 8), "{stats}");
    Ok(())
}
