//! What each rank gets of an epoch's samples.

use std::collections::BTreeMap;

use candle_core::{DType, Device};
use candle_nn::{ParamsAdamW, VarBuilder, linear};
use freeze_core::init::Seeded;
use freeze_core::optim::AdamW;
use freeze_core::train::Sampler;
use freeze_core::{Epoch, Error, Result, Training};
use proptest::prelude::*;

type Last = fn(Sampler) -> Sampler;
const LASTS: [Last; 3] = [Sampler::keep_last, Sampler::drop_last, Sampler::pad_last];

/// Epoch `index` of a run with this seed.
fn epoch(seed: u64, index: usize) -> Result<Epoch> {
    let vb: VarBuilder<'_> = Seeded::builder(0, DType::F32, &Device::Cpu);
    let mut run = Training::new(linear(1, 1, vb)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .seed(seed)
        .length(9, 1)?;
    let mut epoch = run.next_epoch()?.expect("the first");
    epoch.index = index;
    Ok(epoch)
}

/// The batches of the epoch, each with the share of every rank.
fn batches(sampler: &Sampler, epoch: &Epoch, ranks: usize) -> Result<Vec<Vec<Vec<u32>>>> {
    let share = |rank| Ok(sampler.batches(epoch, rank, ranks)?.collect());
    let by_rank: Vec<Vec<Vec<u32>>> = (0..ranks).map(share).collect::<Result<_>>()?;
    let lens: Vec<usize> = by_rank.iter().map(Vec::len).collect();
    assert_eq!(lens, vec![sampler.batches_in_epoch() - epoch.done; ranks], "batches of each rank");
    Ok((0..lens[0]).map(|at| by_rank.iter().map(|shares| shares[at].clone()).collect()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_batch_is_the_same_for_every_number_of_ranks(
        seed in any::<u64>(), samples in 0..70_usize, batch in 1..20_usize, last in 0..3_usize,
    ) {
        let sampler = LASTS[last](Sampler::new(samples, batch)?);
        let mut epoch = epoch(seed, 2)?;
        let mut expected: Vec<Vec<u32>> = epoch.shuffled(samples, batch).collect();
        let short = samples % batch != 0;
        match last {
            1 if short => drop(expected.pop()),
            2 if short => {
                let order: Vec<u32> = expected.concat();
                let missing = batch - samples % batch;
                let filling = order.iter().cycle().take(missing).copied();
                expected.last_mut().expect("a short one").extend(filling);
            }
            _ => {}
        }
        for ranks in 1..=8 {
            epoch.done = 0;
            let found = batches(&sampler, &epoch, ranks)?;
            let whole: Vec<Vec<u32>> = found.iter().map(|shares| shares.concat()).collect();
            prop_assert_eq!(&whole, &expected, "{} ranks", ranks);
            // Resumed at any batch, with another number of ranks.
            epoch.done = expected.len() / 2;
            let rest = batches(&sampler, &epoch, 9 - ranks)?;
            let rest: Vec<Vec<u32>> = rest.iter().map(|shares| shares.concat()).collect();
            prop_assert_eq!(&rest[..], &expected[epoch.done..], "{} ranks", 9 - ranks);
        }
    }

    #[test]
    fn shares_differ_by_at_most_one(
        samples in 0..70_usize, batch in 1..20_usize, ranks in 1..9_usize, last in 0..3_usize,
        keeps in any::<bool>(),
    ) {
        let sampler = LASTS[last](Sampler::new(samples, batch)?);
        let sampler = if keeps { sampler.keeping_ranks() } else { sampler };
        // A rank without samples cannot fill up.
        prop_assume!(!(keeps && last == 2 && samples < ranks));
        let batches = batches(&sampler, &epoch(1, 0)?, ranks)?;
        for (at, shares) in batches.iter().enumerate() {
            let lens = || shares.iter().map(Vec::len);
            prop_assert!(lens().max() <= lens().min().map(|least| least + 1), "{:?}", shares);
            let whole = if last == 0 { batch.min(samples - at * batch) } else { batch };
            prop_assert_eq!(lens().sum::<usize>(), whole);
        }
    }

    #[test]
    fn each_sample_comes_once_and_may_stay_on_its_rank(
        seed in any::<u64>(), samples in 0..70_usize, batch in 1..20_usize, ranks in 1..9_usize,
    ) {
        let mut homes = BTreeMap::new();
        let sampler = Sampler::new(samples, batch)?;
        for (index, sampler) in [(0, sampler.clone()), (1, sampler.clone().keeping_ranks()),
            (2, sampler.keeping_ranks())]
        {
            let batches = batches(&sampler, &epoch(seed, index)?, ranks)?;
            let mut all: Vec<u32> = batches.concat().concat();
            all.sort_unstable();
            prop_assert!(all.iter().copied().eq(0..samples as u32), "{:?}", all);
            for (rank, sample) in batches.iter().flat_map(|shares| shares.iter().enumerate())
                .flat_map(|(rank, share)| share.iter().map(move |&sample| (rank, sample)))
                .filter(|_| index > 0)
            {
                prop_assert_eq!(*homes.entry(sample).or_insert(rank), rank, "sample {}", sample);
            }
        }
    }
}

#[test]
fn a_rank_shuffles_what_it_keeps() -> Result<()> {
    let sampler = Sampler::new(64, 8)?.keeping_ranks();
    let order = |seed, index, ranks| -> Result<Vec<u32>> {
        Ok(sampler.batches(&epoch(seed, index)?, 0, ranks)?.flatten().collect())
    };
    let first = order(1, 0, 2)?;
    assert_eq!(first, order(1, 0, 2)?);
    for other in [order(1, 1, 2)?, order(2, 0, 2)?, (0..32).collect()] {
        assert_ne!(first, other);
    }
    let whole: Vec<u32> = epoch(1, 0)?.shuffled(64, 8).flatten().collect();
    assert_eq!(order(1, 0, 1)?, whole);
    Ok(())
}

#[test]
fn wrong_numbers_are_errors_by_name() -> Result<()> {
    let named = |error: &Error, name| matches!(error, Error::Count { name: n, .. } if *n == name);
    let error = Sampler::new(5, 0).expect_err("no batch");
    assert!(named(&error, "batch"), "{error}");
    let error = Sampler::new(1 << 32, 5).expect_err("too many");
    assert!(named(&error, "samples"), "{error}");
    let (sampler, epoch) = (Sampler::new(5, 2)?, epoch(0, 0)?);
    for (rank, ranks) in [(0, 0), (2, 2), (7, 3)] {
        let error = sampler.batches(&epoch, rank, ranks).map(|_| ()).expect_err("no such rank");
        assert!(named(&error, "rank"), "{error}");
    }
    // None: fewer samples than ranks, and no sample at all.
    assert_eq!(sampler.batches(&epoch, 7, 8)?.collect::<Vec<_>>(), vec![Vec::<u32>::new(); 3]);
    assert_eq!(Sampler::new(0, 2)?.pad_last().batches(&epoch, 0, 1)?.count(), 0);
    Ok(())
}
