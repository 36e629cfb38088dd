//! Fingerprints of inputs and weights on the card: those of the CPU, so that each finds what the other has kept.

use candle_core::{DType, Device, Tensor};
use candle_nn::Module;
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::{ActivationCache, Freezable, Freezer, Staged};

use crate::card;

type Result<T = ()> = freeze_core::Result<T>;

const SAMPLES: usize = 9;

/// Rows of whole words, of bytes, and of more than a block of the card reads.
const INPUTS: [(DType, usize); 8] = [
    (DType::F32, 8),
    (DType::F32, 3),
    (DType::F64, 1),
    (DType::F16, 7),
    (DType::BF16, 5),
    (DType::U8, 70_003),
    (DType::U32, 40_000),
    (DType::I64, 2),
];

/// Two leaves, of which the first is frozen.
#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    front: Linear,
    head: Linear,
}

impl Net {
    fn frozen(device: &Device) -> Result<Freezer<Self>> {
        let vb = Seeded::builder(7, DType::F32, device);
        let (front, head) = (linear(4, 4, vb.pp("front"))?, linear(4, 2, vb.pp("head"))?);
        let mut net = Freezer::new(Self { front, head })?;
        net.freeze_front(1, &mut [])?;
        Ok(net)
    }
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = Tensor;

    /// The first number of a sample and that of its context, four times.
    fn run(&self, stage: NetStage, xs: Tensor, context: &Tensor) -> candle_core::Result<Tensor> {
        let first = |xs: &Tensor| xs.narrow(1, 0, 1)?.contiguous()?.to_dtype(DType::F32);
        match stage {
            NetStage::Front => {
                let one = (first(&xs)? + first(context)?)?;
                self.front.forward(&Tensor::cat(&[&one, &one, &one, &one], 1)?)
            }
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

/// Small numbers; of one sample the last is `last`.
fn input((dtype, width): (DType, usize), last: f64, device: &Device) -> Result<Tensor> {
    let mut numbers: Vec<f64> = (0..SAMPLES * width).map(|i| (i * 7 % 120) as f64).collect();
    numbers[3 * width - 1] = last;
    let numbers = Tensor::from_vec(numbers, (SAMPLES, width), &Device::Cpu)?;
    Ok(numbers.to_dtype(dtype)?.to_device(device)?)
}

/// The rows of a tensor as a view that is not contiguous.
fn view(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.t()?.contiguous()?.t()?)
}

#[test]
fn what_is_kept_on_one_device_is_found_on_the_other() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let keys: Vec<u64> = (100..).take(SAMPLES).collect();
    for form in INPUTS {
        for [first, second] in [[&Device::Cpu, &card], [&card, &Device::Cpu], [&card, &card]] {
            let context = format!("{form:?}, {first:?}, then {second:?}");
            let folder = tempfile::tempdir().expect("a folder");
            let cache = || ActivationCache::new().kept(folder.path(), 1 << 20);
            let settings = |device| input((DType::U32, 3), 5.0, device);
            let (mut before, net) = (cache(), Net::frozen(first)?);
            before.forward(&net, &keys, input(form, 90.0, first)?, &settings(first)?)?;
            assert_eq!(before.stats().misses, SAMPLES as u64, "{context}");

            let (mut after, net) = (cache(), Net::frozen(second)?);
            let other = input(form, 91.0, second)?;
            let refused = after.forward(&net, &keys, other, &settings(second)?);
            let refused = refused.expect_err(&context).to_string();
            assert!(refused.contains("context of key 102 differs"), "{context}: {refused}");
            let other = input((DType::U32, 3), 6.0, second)?;
            let xs = input(form, 90.0, second)?;
            let refused = after.forward(&net, &keys, xs.clone(), &other);
            assert!(refused.is_err_and(|error| error.to_string().contains("key 102")), "{context}");
            for xs in [xs.clone(), view(&xs)?] {
                after.forward(&net, &keys, xs, &settings(second)?)?;
            }
            assert_eq!(after.stats().hits, 2 * SAMPLES as u64, "{context}: {}", after.stats());

            // So it is of records that are on their way there: of the first keys nothing is known yet.
            let (mut after, part) = (cache(), |xs: &Tensor| xs.narrow(0, 3, SAMPLES - 3));
            after.forward(&net, &keys[3..], part(&xs)?, &part(&settings(second)?)?)?;
            for (last, is_right) in [(91.0, false), (90.0, true)] {
                after.read_ahead(&keys);
                let found =
                    after.forward(&net, &keys, input(form, last, second)?, &settings(second)?);
                assert_eq!(found.is_ok(), is_right, "{context}");
            }
            assert_eq!(after.stats().read_ahead, 2 * SAMPLES as u64, "{context}");
        }
    }
    Ok(())
}

/// One number of many, far behind what is looked at now and then.
#[test]
fn a_weight_that_changes_is_seen() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let net = Net::frozen(&card)?;
    let (keys, xs) = ([1, 2, 3], input((DType::F32, 2), 1.0, &card)?.narrow(0, 0, 3)?);
    let mut cache = ActivationCache::new();
    for (change, misses) in [(0.0, 3), (0.0, 3), (0.5, 6), (0.0, 6)] {
        if change > 0.0 {
            let weight = net.front.weight();
            let last = Tensor::full(change as f32, (1, 1), &card)?;
            weight.narrow(0, 3, 1)?.narrow(1, 3, 1)?.slice_set(&last, 0, 0)?;
        }
        cache.recheck();
        cache.forward(&net, &keys, xs.clone(), &xs)?;
        assert_eq!(cache.stats().misses, misses);
    }
    Ok(())
}
