//! Odd turns: two models with one cache, nothing to do, another thread, a refusal and then going on.

use candle_core::{DType, Device, Result, Tensor};
use freeze_core::{ActivationCache, Freezer, Staged};

use super::net::*;

fn frozen(seed: u64, leaves: usize) -> Freezer<Net> {
    let mut net = Freezer::new(Net::new(seed).expect("a net")).expect("a freezer");
    net.freeze_front(leaves, &mut []).expect("frozen");
    net
}

/// The scores of the samples by the cache, which must be those of the model with the same masks.
fn check(cache: &mut ActivationCache, net: &Freezer<Net>, which: &[u32]) -> Result<()> {
    let (keys, xs, _) = batch(which)?;
    let state = net.dropout.state();
    let expected = bits(&net.forward(xs.clone(), &())?);
    net.dropout.set_state(state);
    assert_eq!(bits(&cache.forward(net, &keys, xs, &())?), expected, "{which:?}");
    Ok(())
}

#[test]
fn two_models_in_turn_never_read_each_others_records() -> Result<()> {
    for (leaves, others) in [(3, 3), (3, 1), (1, 4), (3, 0)] {
        let (one, other) = (frozen(1, leaves), frozen(2, others));
        let mut cache = ActivationCache::new();
        for net in [&one, &other, &one, &one, &other] {
            check(&mut cache, net, &[3, 1, 2, 0])?;
        }
        // Equal weights are equal records, whoever has them.
        let twin = frozen(1, leaves);
        check(&mut cache, &one, &[3, 1, 2, 0])?;
        let misses = cache.stats().misses;
        check(&mut cache, &twin, &[0, 1, 2, 3])?;
        assert_eq!(cache.stats().misses, misses, "{leaves} and {others}");
    }
    Ok(())
}

#[test]
fn nothing_to_do_stores_nothing_and_disturbs_nothing() -> Result<()> {
    let net = frozen(1, 3);
    let mut cache = ActivationCache::new();
    let none = Tensor::zeros((0, 5), DType::F32, &Device::Cpu)?;
    for _ in 0..2 {
        let scores = cache.forward(&net, &[], none.clone(), &())?;
        assert_eq!((scores.dims(), cache.stats().records), (&[0, 3][..], 0));
    }
    check(&mut cache, &net, &[1, 2])?;
    assert_eq!(cache.forward(&net, &[], none, &())?.dims(), [0, 3]);
    assert_eq!(cache.stats().records, 2);
    Ok(())
}

#[test]
fn a_refused_batch_is_as_if_it_had_not_come() -> Result<()> {
    let net = frozen(1, 3);
    let mut cache = ActivationCache::new();
    check(&mut cache, &net, &[0, 1])?;
    let (_, xs, _) = batch(&[2, 3])?;
    for keys in [&[1002u64][..], &[1000, 1003], &[1002, 1002], &[1002, 1003, 1004]] {
        assert!(cache.forward(&net, keys, xs.clone(), &()).is_err(), "{keys:?}");
        assert_eq!(cache.stats().records, 2, "{keys:?}");
    }
    check(&mut cache, &net, &[3, 0, 2, 1])?;
    assert_eq!((cache.stats().records, cache.stats().hits), (4, 2));
    Ok(())
}

#[test]
fn another_thread_goes_on_with_the_records() -> Result<()> {
    let net = frozen(1, 3);
    let mut cache = ActivationCache::new();
    check(&mut cache, &net, &[0, 1, 2])?;
    std::thread::scope(|scope| scope.spawn(|| check(&mut cache, &net, &[2, 1, 3])).join())
        .expect("no panic")?;
    check(&mut cache, &net, &[3, 2, 1, 0])?;
    assert_eq!((cache.stats().misses, cache.stats().hits), (4, 6));
    Ok(())
}
