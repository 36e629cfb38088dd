//! What cannot be kept is refused by name, with the remedy, and nothing has moved.

use candle_core::{Device, Tensor, Var};
use freeze_core::cache::{Boundary, CacheContext, Shared};
use freeze_core::{ActivationCache, BatchNormPolicy, Error, Freezer, Result, Staged};

use super::net;
use super::odd::*;

fn frozen(does: Does, leaves: usize) -> Result<Freezer<Odd>> {
    let mut odd = Freezer::new(Odd::new(does)?)?;
    odd.freeze_front(leaves, &mut [])?;
    Ok(odd)
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let error = result.err().expect("a refusal");
    assert!(matches!(error, Error::Cache { .. }), "{error:?}");
    for word in words {
        assert!(error.to_string().contains(word), "`{word}` in: {error}");
    }
}

#[test]
fn stages_whose_outputs_cannot_be_kept() -> Result<()> {
    use Does::*;
    let inference = "BatchNormPolicy::Inference";
    // What is refused as the caller says, and what is left of it under `Inference`.
    let rows: [(Does, &[&str], bool); 8] = [
        (Nothing, &[], false),
        (AddsTheContext, &[], false),
        (Drops, &["`part.dropout`", inference], false),
        (NormalisesByTheBatch, &["`part.norm.running_mean`", inference], false),
        (DropsAsCandle, &["same input", "candle's dropout"], true),
        (Remembers, &["same input", "remembers"], true),
        (CentersTheBatch, &["other samples of the batch"], true),
        (NeedsFour, &["other samples of the batch", "four are needed"], true),
    ];
    for (does, words, stays) in rows {
        for policy in [BatchNormPolicy::AsCaller, BatchNormPolicy::Inference] {
            let mut odd = frozen(does, 2)?;
            odd.set_batch_norm(policy)?;
            let before: Vec<_> = odd.named_tensors()?.iter().map(|(_, t)| net::bits(t)).collect();
            let state = odd.part.dropout.state();
            let mut cache = ActivationCache::new();
            let scores = cache.forward(&odd, &[0, 1, 2, 3], input()?, &context()?);
            if words.is_empty() || policy == BatchNormPolicy::Inference && !stays {
                scores?;
                assert_eq!(cache.stats().records, 4, "{does:?}");
            } else {
                refused(scores, &[words, &["`part`", "Boundary::Before(\"part\")"]].concat());
                assert_eq!(cache.stats().records, 0, "{does:?}");
                // The remedy that it names.
                let mut cache = ActivationCache::new().boundary(Boundary::Before("part".into()));
                cache.forward(&odd, &[0, 1, 2, 3], input()?, &context()?)?;
                assert_eq!(cache.stats().records, 4, "{does:?}");
                odd.part.dropout.set_state(state);
                continue;
            }
            let after: Vec<_> = odd.named_tensors()?.iter().map(|(_, t)| net::bits(t)).collect();
            assert_eq!(after, before, "{does:?}: statistics");
            assert_eq!(odd.part.dropout.state(), state, "{does:?}: generator");
        }
    }
    Ok(())
}

#[test]
fn a_refusal_leaves_statistics_and_generators() -> Result<()> {
    for does in [Does::Drops, Does::NormalisesByTheBatch] {
        let odd = frozen(does, 2)?;
        let picture = |odd: &Freezer<Odd>| {
            let tensors = odd.named_tensors().expect("tensors");
            let bits: Vec<_> = tensors.iter().map(|(_, tensor)| net::bits(tensor)).collect();
            (bits, odd.part.dropout.state())
        };
        let before = picture(&odd);
        let mut cache = ActivationCache::new();
        refused(cache.forward(&odd, &[0, 1, 2, 3], input()?, &context()?), &["`part`"]);
        assert_eq!(picture(&odd), before, "{does:?}");
    }
    Ok(())
}

#[test]
fn one_sample_at_a_time_is_kept_until_two_show_otherwise() -> Result<()> {
    let odd = frozen(Does::CentersTheBatch, 2)?;
    let mut cache = ActivationCache::new();
    let (xs, (own, all)) = (input()?, context()?);
    let one = (own.narrow(0, 0, 1)?, all.clone());
    cache.forward(&odd, &[0], xs.narrow(0, 0, 1)?, &one)?;
    assert_eq!(cache.stats().records, 1);
    refused(cache.forward(&odd, &[4, 1, 2, 3], xs, &(own, all)), &["other samples of the batch"]);
    Ok(())
}

#[test]
fn keys_that_do_not_say_which_sample_it_is() -> Result<()> {
    let odd = frozen(Does::AddsTheContext, 2)?;
    let (xs, (own, all)) = (input()?, context()?);
    let context = (own.clone(), all.clone());
    let mut cache = ActivationCache::new();
    refused(cache.forward(&odd, &[0, 1, 2], xs.clone(), &context), &["3 keys for 4 samples"]);
    refused(
        cache.forward(&odd, &[7, 1, 2, 7], xs.clone(), &context),
        &["key 7", "twice", "augmented"],
    );
    assert_eq!(cache.stats().records, 0);
    cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context)?;
    let changed: [(Tensor, (Tensor, Shared)); 3] = [
        ((&xs * 2.0)?, context.clone()),
        (xs.clone(), ((&own * 2.0)?, all.clone())),
        (xs.clone(), (own.clone(), Shared((&*all * 2.0)?))),
    ];
    for (xs, context) in &changed {
        let again = cache.forward(&odd, &[9, 1, 2, 3], xs.clone(), context);
        refused(again, &["key 1", "augmented view", "unchecked_inputs"]);
    }
    // A key that is new takes whatever comes, and another form of sample is another sample.
    cache.forward(&odd, &[4, 5, 6, 7], changed[0].0.clone(), &context)?;
    assert_eq!(cache.stats().records, 8);
    let mut trusting = ActivationCache::new().unchecked_inputs();
    trusting.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context)?;
    trusting.forward(&odd, &[0, 1, 2, 3], changed[0].0.clone(), &context)?;
    assert_eq!(trusting.stats().hits, 4);
    Ok(())
}

/// Keys are looked at from the first batch on: before anything freezes, where no record finds room, and after
/// one was dropped.
#[test]
fn keys_are_checked_where_nothing_is_stored() -> Result<()> {
    let (xs, context) = (input()?, context()?);
    let other = (&xs * 2.0)?;
    for (leaves, memory, records) in [(0, 0, 0), (2, 0, 0), (2, 1 << 20, 4)] {
        let mut odd = frozen(Does::AddsTheContext, leaves)?;
        let mut cache = ActivationCache::new().memory(memory);
        let twice = cache.forward(&odd, &[7, 1, 2, 7], xs.clone(), &context);
        refused(twice, &["key 7", "twice"]);
        for _ in 0..2 {
            cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context)?;
        }
        assert_eq!(cache.stats().records, records);
        refused(cache.forward(&odd, &[8, 1, 8, 9], other.clone(), &context), &["key 8", "twice"]);
        let again = cache.forward(&odd, &[9, 1, 8, 7], other.clone(), &context);
        refused(again, &["key 1", "augmented view"]);
        // It is the same key when more is frozen, and when its record is dropped.
        for more in [2, 1, 0] {
            odd.freeze_front(more, &mut [])?;
            refused(cache.forward(&odd, &[9, 1, 8, 7], other.clone(), &context), &["key 1"]);
            cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context)?;
        }
        // What was refused was not noted; forgotten is all.
        cache.forward(&odd, &[9, 8, 7, 6], xs.clone(), &context)?;
        cache.clear();
        cache.forward(&odd, &[0, 1, 2, 3], other.clone(), &context)?;
        let mut trusting = ActivationCache::new().unchecked_inputs();
        trusting.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context)?;
        trusting.forward(&odd, &[0, 1, 2, 0], other.clone(), &context)?;
    }
    Ok(())
}

#[test]
fn inputs_with_a_gradient_and_contexts_that_do_not_fit() -> Result<()> {
    let odd = frozen(Does::AddsTheContext, 2)?;
    let (xs, (own, all)) = (input()?, context()?);
    let mut cache = ActivationCache::new();
    let tracked = Var::from_tensor(&xs)?.into_inner();
    let context = (own, all.clone());
    refused(cache.forward(&odd, &[0, 1, 2, 3], tracked.clone(), &context), &["gradient", "detach"]);
    let wrong = (Tensor::new(&[[1f32], [2.]], &Device::Cpu)?, all);
    let again = cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &wrong);
    refused(again, &["[2, 1]", "batch of 4", "cache::Shared"]);
    refused(
        ActivationCache::new().boundary(Boundary::Before("prt".into())).forward(
            &odd,
            &[0, 1, 2, 3],
            xs,
            &context,
        ),
        &["`prt`", "near names: `part`"],
    );
    // Nothing frozen, nothing to refuse.
    cache.forward(&frozen(Does::Drops, 0)?, &[0, 1, 2, 3], tracked, &context)?;
    Ok(())
}

/// A single sample does not show that its stage is refused; the others of its batch do, whichever come first.
#[test]
fn nothing_is_stored_of_a_batch_that_is_refused() -> Result<()> {
    let (xs, context) = (input()?, context()?);
    for known in [&[0u32][..], &[0, 1, 2]] {
        let mut odd = frozen(Does::CentersTheBatch, 1)?;
        let mut cache = ActivationCache::new();
        let keys: Vec<u64> = known.iter().map(|&i| i.into()).collect();
        let part = xs.index_select(&Tensor::new(known, &Device::Cpu)?, 0)?;
        cache.forward(&odd, &keys, part, &context.select(known, 4)?)?;
        let before = cache.stats();
        assert_eq!(before.records, known.len());
        odd.freeze_front(2, &mut [])?;
        for _ in 0..2 {
            let scores = cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context);
            refused(scores, &["other samples of the batch"]);
        }
        let since = cache.stats().since(&before);
        let counts = [since.hits, since.extended, since.misses, since.records as u64];
        assert_eq!(counts, [0, 0, 0, known.len() as u64]);
        // What was stored before is.
        odd.freeze_front(1, &mut [])?;
        cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context)?;
        assert_eq!(cache.stats().since(&before).hits, known.len() as u64);
    }
    Ok(())
}

/// What each sample sees goes with it where the others alone are computed.
#[test]
fn contexts_go_with_the_samples() -> Result<()> {
    let odd = frozen(Does::AddsTheContext, 2)?;
    let (xs, context) = (input()?, context()?);
    let mut cache = ActivationCache::new();
    let rows = [3u32, 0];
    let part = xs.index_select(&Tensor::new(&rows, &Device::Cpu)?, 0)?;
    cache.forward(&odd, &[3, 0], part, &context.select(&rows, 4)?)?;
    let scores = cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &context)?;
    assert_eq!(net::bits(&scores), net::bits(&odd.forward(xs, &context)?));
    assert_eq!((cache.stats().hits, cache.stats().misses), (2, 4));
    Ok(())
}

/// A row that all samples share is the same row where a batch has one sample.
#[test]
fn a_shared_row_is_the_same_for_one_sample() -> Result<()> {
    let odd = frozen(Does::AddsTheContext, 2)?;
    let (xs, (own, all)) = (input()?, context()?);
    let shared =
        |row: usize| -> Result<(Tensor, Shared)> { Ok((own.narrow(0, row, 1)?, all.clone())) };
    let mut cache = ActivationCache::new();
    cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &shared(2)?)?;
    let one = xs.narrow(0, 1, 1)?;
    cache.forward(&odd, &[1], one.clone(), &shared(2)?)?;
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 4));
    refused(cache.forward(&odd, &[1], one, &shared(0)?), &["key 1"]);
    Ok(())
}

#[test]
fn what_a_context_selects() -> Result<()> {
    let own = Tensor::new(&[1u32, 2, 3], &Device::Cpu)?;
    let one = Tensor::new(&[[7u32, 8]], &Device::Cpu)?;
    let context =
        (vec![own.clone(), one.clone()], Some(own), [true, false], (2.5, "x".to_string()));
    let (list, option, switches, rest) = context.select(&[2, 0], 3)?;
    assert_eq!(list[0].to_vec1::<u32>()?, [3, 1]);
    assert_eq!(list[1].to_vec2::<u32>()?, [[7, 8]]);
    assert_eq!(option.expect("a tensor").to_vec1::<u32>()?, [3, 1]);
    assert_eq!((switches, rest), ([true, false], (2.5, "x".to_string())));
    assert_eq!(Shared(one.clone()).select(&[0, 0], 1)?.dims(), one.dims());
    assert_eq!([1.0f64, 2.0][..].select(&[0], 9)?, [1.0, 2.0]);
    Ok(())
}
