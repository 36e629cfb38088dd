//! `ActivationCache::forward`: what is kept, what is run, what is refused.

use candle_core::{Device, Result, Tensor, Var};
use freeze_core::cache::{Boundary, Precision};
use freeze_core::{ActivationCache, Freezer, Staged};

use super::net::*;
use super::odd::{self, Does, Odd};

fn frozen(leaves: usize) -> Freezer<Net> {
    let mut net = Freezer::new(Net::new(1).expect("a net")).expect("a freezer");
    net.freeze_front(leaves, &mut []).expect("frozen");
    net
}

#[test]
fn what_was_kept_is_not_run_again() -> Result<()> {
    for (leaves, passed) in [(0, 0), (1, 1), (3, 3), (4, 4)] {
        let net = frozen(leaves);
        let mut cache = ActivationCache::new();
        let stages = ["stem", "blocks.0", "blocks.1", "blocks.2", "dropout", "head"];
        for (round, which) in [[3u32, 1, 2, 0], [0, 1, 2, 3], [2, 2, 0, 2]].iter().enumerate() {
            let (keys, xs, _) = batch(which)?;
            let state = net.dropout.state();
            let expected = bits(&net.forward(xs.clone(), &())?);
            net.dropout.set_state(state);
            net.runs.take();
            let scores = cache.forward(&net, &keys, xs, &())?;
            assert_eq!(bits(&scores), expected, "{leaves} frozen, round {round}");
            for (at, stage) in stages.iter().enumerate() {
                let runs = net.runs.of(stage);
                match (at < passed, round) {
                    // Twice, and once for a part, to see whether it can be kept.
                    (true, 0) => assert!(runs >= 4, "{stage}: {runs}"),
                    (true, _) => assert_eq!(runs, 0, "{stage} of {leaves}"),
                    _ => assert!(runs >= 4, "{stage}: {runs}"),
                }
            }
        }
        let stats = cache.stats();
        let seen = if passed == 0 { (0, 0, 0) } else { (4, 6, 4) };
        assert_eq!((stats.misses, stats.hits, stats.records), seen, "{leaves}");
    }
    Ok(())
}

#[test]
fn a_record_is_extended_by_the_new_stages_alone() -> Result<()> {
    let mut net = frozen(2);
    let mut cache = ActivationCache::new();
    let every = |net: &Freezer<Net>, cache: &mut ActivationCache| {
        net.runs.take();
        for at in (0..20).step_by(4) {
            let (keys, xs, _) = batch(&[at, at + 1, at + 2, at + 3]).expect("a batch");
            let state = net.dropout.state();
            let scores = cache.forward(net, &keys, xs.clone(), &()).expect("a forward");
            net.dropout.set_state(state);
            let runs = net.runs.take();
            assert_eq!(bits(&scores), bits(&net.forward(xs, &()).expect("a forward")));
            net.runs.take();
            runs.iter().for_each(|(stage, samples)| net.runs.ran(stage, *samples));
        }
        ["stem", "blocks.0", "blocks.1", "blocks.2"].map(|stage| net.runs.of(stage))
    };
    // Tried once: twice more, and for a half.
    let tried = 20 + 4 + 2;
    assert_eq!(every(&net, &mut cache), [tried, tried, 20, 20]);
    assert_eq!(every(&net, &mut cache), [0, 0, 20, 20]);
    net.freeze_front(4, &mut [])?;
    assert_eq!(every(&net, &mut cache), [0, 0, tried, tried]);
    assert_eq!(every(&net, &mut cache), [0; 4]);
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits, stats.extended, stats.records), (20, 40, 20, 20));
    assert_eq!(stats.boundary.as_deref(), Some("dropout"));
    // Back: nothing that lies deeper is used, nor what it was made of.
    net.freeze_front(1, &mut [])?;
    assert_eq!(every(&net, &mut cache), [20, 20, 20, 20]);
    assert_eq!(cache.stats().records, 20);
    Ok(())
}

#[test]
fn the_deepest_boundary_is_in_front_of_what_draws() -> Result<()> {
    let net = frozen(4);
    let mut cache = ActivationCache::new();
    let (keys, xs, _) = batch(&[0, 1, 2])?;
    let state = net.dropout.state();
    let first = bits(&cache.forward(&net, &keys, xs.clone(), &())?);
    let moved = net.dropout.state();
    assert_eq!(moved.position, state.position + 24, "trials are taken back");
    assert_ne!(bits(&cache.forward(&net, &keys, xs.clone(), &())?), first, "another mask");
    assert_eq!(cache.stats().boundary.as_deref(), Some("dropout"));
    let mut all = Freezer::new(Odd::new(Does::Nothing)?)?;
    all.freeze_front(3, &mut [])?;
    let mut cache = ActivationCache::new();
    let scores = cache.forward(&all, &[0, 1, 2, 3], odd::input()?, &odd::context()?)?;
    let again = cache.forward(&all, &[0, 1, 2, 3], odd::input()?, &odd::context()?)?;
    assert_eq!(bits(&scores), bits(&again), "the whole model is frozen");
    assert_eq!((cache.stats().boundary, cache.stats().hits), (None, 4));
    Ok(())
}

fn odd_frozen() -> Result<Freezer<Odd>> {
    let mut odd = Freezer::new(Odd::new(Does::Nothing)?)?;
    odd.freeze_front(2, &mut [])?;
    Ok(odd)
}

#[test]
fn what_is_read_has_no_graph_and_the_rest_has() -> Result<()> {
    let odd = odd_frozen()?;
    let mut cache = ActivationCache::new();
    for _ in 0..2 {
        let scores = cache.forward(&odd, &[0, 1, 2, 3], odd::input()?, &odd::context()?)?;
        let plain = odd.forward(odd::input()?, &odd::context()?)?;
        assert_eq!(scores.sorted_nodes().len(), plain.sorted_nodes().len());
        let grads = scores.sum_all()?.backward()?;
        for (name, var) in odd.named_vars() {
            assert_eq!(grads.get(&var).is_some(), name.starts_with("head"), "{name}");
        }
    }
    Ok(())
}

#[test]
fn numbers_that_are_none_are_kept_and_those_out_of_range_are_not() -> Result<()> {
    let odd = odd_frozen()?;
    let at = |row: usize, number: f32| -> Result<Tensor> {
        let mut rows = odd::input()?.to_vec2::<f32>()?;
        rows[row][0] = number;
        Tensor::new(rows, &Device::Cpu)
    };
    // In f16 a sample whose numbers become infinite is computed each time.
    let rows = [
        (Precision::Exact, f32::NAN, 4, 0),
        (Precision::Exact, 1e8, 4, 0),
        (Precision::F16, f32::NAN, 4, 0),
        (Precision::F16, f32::INFINITY, 4, 0),
        (Precision::F16, 1e8, 3, 2),
        (Precision::BF16, 1e8, 4, 0),
    ];
    for (precision, number, hits, out_of_range) in rows {
        let context = format!("{number} in {precision:?}");
        let mut cache = ActivationCache::new().precision(precision);
        let xs = at(2, number)?;
        let plain = odd.forward(xs.clone(), &odd::context()?)?;
        let first = cache.forward(&odd, &[0, 1, 2, 3], xs.clone(), &odd::context()?)?;
        let again = cache.forward(&odd, &[0, 1, 2, 3], xs, &odd::context()?)?;
        // What is read is what the first forward went on with.
        assert_eq!(bits(&first), bits(&again), "{context}");
        assert_eq!(bits(&first) == bits(&plain), precision == Precision::Exact, "{context}");
        let (first, plain) = (first.to_vec2::<f32>()?, plain.to_vec2::<f32>()?);
        for (first, plain) in first.concat().into_iter().zip(plain.concat()) {
            let near = (first - plain).abs() <= 0.01 * plain.abs().max(1.0);
            assert!(near || first == plain || first.is_nan() && plain.is_nan(), "{context}");
        }
        assert_eq!(
            (cache.stats().hits, cache.stats().out_of_range),
            (hits, out_of_range),
            "{context}"
        );
    }
    Ok(())
}

#[test]
fn halves_take_half_the_room() -> Result<()> {
    let (net, mut runs) = (frozen(1), Vec::new());
    for (precision, memory) in [(Precision::Exact, 32), (Precision::F16, 32), (Precision::F16, 0)] {
        let mut cache = ActivationCache::new().precision(precision).memory(memory);
        let (keys, xs, _) = batch(&[0, 1, 2])?;
        let state = net.dropout.state();
        runs.push(bits(&cache.forward(&net, &keys, xs, &())?));
        net.dropout.set_state(state);
        let fit = match (precision, memory) {
            (_, 0) => 0,
            (Precision::Exact, _) => 1,
            _ => 2,
        };
        assert_eq!(cache.stats().records, fit, "{precision:?} {memory}");
    }
    assert_ne!(runs[0], runs[1]);
    assert_eq!(runs[1], runs[2], "what is computed does not depend on what was kept");
    Ok(())
}

#[test]
fn single_numbers_are_found_when_asked_for() -> Result<()> {
    let net = frozen(1);
    let mut cache = ActivationCache::new();
    let (keys, xs, _) = batch(&[0, 1])?;
    cache.forward(&net, &keys, xs.clone(), &())?;
    let var = Var::from_tensor(net.whole().stem.weight())?;
    var.set(&(var.as_tensor() + 0.0)?)?;
    cache.recheck();
    cache.forward(&net, &keys, xs.clone(), &())?;
    assert_eq!(cache.stats().hits, 2, "the same numbers");
    let mut numbers = var.flatten_all()?.to_vec1::<f32>()?;
    numbers[17] += 1.0;
    var.set(&Tensor::from_vec(numbers, var.shape(), &Device::Cpu)?)?;
    cache.recheck();
    cache.forward(&net, &keys, xs, &())?;
    assert_eq!((cache.stats().hits, cache.stats().misses), (2, 4));
    Ok(())
}

#[test]
fn the_cheapest_boundary_is_in_front_of_a_large_output_that_costs_nothing() -> Result<()> {
    let mut odd = Freezer::new(Odd::new(Does::Widens)?)?;
    odd.freeze_front(2, &mut [])?;
    let scores = bits(&odd.forward(odd::input()?, &odd::context()?)?);
    for boundary in [Boundary::Deepest, Boundary::Cheapest] {
        let mut cache = ActivationCache::new().boundary(boundary.clone());
        for _ in 0..3 {
            let cached = cache.forward(&odd, &[0, 1, 2, 3], odd::input()?, &odd::context()?)?;
            assert_eq!(bits(&cached), scores, "{boundary:?}");
        }
        // Four times 50 000 rows of 16 bytes, or at most four times one.
        let bytes = cache.stats().memory_bytes;
        assert_eq!(bytes > 1 << 20, boundary == Boundary::Deepest, "{boundary:?}: {bytes}");
    }
    Ok(())
}

/// Before there is anything, with nothing to do, twice, for what was cleared, and on another thread than asks.
#[test]
fn what_is_told_at_odd_times_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (net, (keys, xs, _)) = (frozen(2), batch(&[4, 1, 7])?);
    let state = net.dropout.state();
    let again = || net.dropout.set_state(state);
    let mut cache = ActivationCache::new().memory(0).folder(folder.path(), 1 << 20);
    cache.read_ahead(&keys);
    let expected = bits(&cache.forward(&net, &keys, xs.clone(), &())?);
    cache.read_ahead(&keys);
    cache.read_ahead(&[]);
    cache.read_ahead(&keys);
    let mut cache = std::thread::spawn(move || {
        cache.read_ahead(&[]);
        cache.read_ahead(&keys);
        cache
    })
    .join()
    .expect("no panic");
    let keys = batch(&[4, 1, 7])?.0;
    again();
    assert_eq!(cache.forward(&net, &keys, xs.clone(), &()).map(|xs| bits(&xs))?, expected);
    assert_eq!((cache.stats().hits, cache.stats().read_ahead), (3, 3));
    cache.read_ahead(&keys);
    cache.clear();
    cache.read_ahead(&keys);
    again();
    assert_eq!(cache.forward(&net, &keys, xs, &()).map(|xs| bits(&xs))?, expected);
    assert_eq!((cache.stats().misses, cache.stats().read_ahead), (6, 3));
    Ok(())
}
