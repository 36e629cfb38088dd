//! What a run says of its cache, and what it reads ahead.

use std::sync::{Arc, Mutex};

use candle_nn::loss::cross_entropy;
use freeze_core::{ActivationCache, Elapsed, Epoch, Result, Training};

use super::net::*;

type Recorded = Arc<Mutex<Vec<(String, f64)>>>;

fn recorded() -> (Recorded, impl FnMut(&str, f64, Elapsed) + Send) {
    let all = Recorded::default();
    let sink = {
        let all = Arc::clone(&all);
        move |name: &str, value: f64, _: Elapsed| {
            all.lock().expect("no panic").push((name.to_string(), value));
        }
    };
    (all, sink)
}

#[test]
fn an_epoch_reports_what_the_cache_did_in_it() -> Result<()> {
    let (all, sink) = recorded();
    let mut run = run()?.cache(ActivationCache::new()).metrics(sink);
    // Misses, hits and extended samples of each epoch, and the bytes of a record.
    let rows = [(0, [0, 0, 0], 0), (1, [22, 0, 0], 8), (1, [0, 22, 0], 8), (2, [0, 0, 22], 6)];
    for (leaves, counts, numbers) in rows {
        run.freeze_front(leaves)?;
        let epoch = run.next_epoch()?.expect("an epoch");
        for which in epoch.shuffled(SAMPLES, SIZE) {
            let (keys, xs, ys) = batch(&which)?;
            let scores = run.forward(&keys, xs, &())?;
            run.step(&cross_entropy(&scores, &ys)?)?;
        }
        all.lock().expect("no panic").clear();
        let report = run.epoch_end([])?;
        let stats = report.cache.expect("a cache");
        assert_eq!([stats.misses, stats.hits, stats.extended], counts, "{leaves}");
        let records = if leaves > 0 { SAMPLES } else { 0 };
        assert_eq!(stats.records, records);
        assert!(stats.memory_bytes >= (records * numbers * 4) as u64);
        let told = all.lock().expect("no panic").clone();
        let metric = |name: &str| {
            let name = format!("activation_cache/{name}");
            let of: Vec<f64> =
                told.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value).collect();
            assert_eq!(run.history().last(&name), of.last().copied());
            assert_eq!(of.len(), 1, "{name} is recorded once");
            of[0]
        };
        assert_eq!(["misses", "hits", "extended"].map(metric), counts.map(|count| count as f64));
        assert_eq!(metric("records"), records as f64);
        assert_eq!(metric("memory_bytes"), stats.memory_bytes as f64);
        assert_eq!(metric("disk_bytes"), 0.0);
        assert_eq!(metric("seconds_saved"), stats.seconds_saved);
    }
    let total = run.activation_cache().expect("a cache").stats();
    assert_eq!([total.misses, total.hits, total.extended], [22; 3]);
    Ok(())
}

#[test]
fn an_epoch_whose_loop_was_left_reports_all_that_the_cache_did() -> Result<()> {
    let mut run = run()?.cache(ActivationCache::new());
    run.freeze_front(1)?;
    let epoch = run.next_epoch()?.expect("an epoch");
    for (at, which) in epoch.shuffled(SAMPLES, SIZE).enumerate() {
        if at == 1 {
            assert_eq!(run.next_epoch()?.map(|epoch| epoch.done), Some(1));
        }
        let (keys, xs, ys) = batch(&which)?;
        let scores = run.forward(&keys, xs, &())?;
        run.step(&cross_entropy(&scores, &ys)?)?;
    }
    assert_eq!(run.epoch_end([])?.cache.expect("a cache").misses, 22);
    Ok(())
}

#[test]
fn a_run_without_a_cache_says_nothing_of_one() -> Result<()> {
    let (all, sink) = recorded();
    let mut run = run()?.metrics(sink);
    course(&mut run, |_, _| Ok(()))?;
    let told = all.lock().expect("no panic").clone();
    assert!(told.iter().all(|(name, _)| !name.starts_with("activation_cache/")));
    assert!(!told.is_empty());
    Ok(())
}

fn keys(which: &[u32]) -> Vec<u64> {
    which.iter().map(|&i| 1000 + u64::from(i)).collect()
}

/// What a run says that comes.
#[derive(Clone, Copy, Debug)]
enum Said {
    Nothing,
    ItsOrder,
    /// The order of the samples before shuffling.
    AnotherOrder,
    /// The second batch and what comes behind.
    WithoutTheFirst,
}

fn say(run: &mut Training<Net>, said: Said, epoch: &Epoch) {
    match said {
        Said::Nothing => {}
        Said::ItsOrder => run.read_ahead(epoch.shuffled(SAMPLES, SIZE).map(|which| keys(&which))),
        Said::AnotherOrder => {
            run.read_ahead(epoch.in_order(SAMPLES, SIZE).map(|which| keys(&which)));
        }
        Said::WithoutTheFirst => {
            run.read_ahead(epoch.shuffled(SAMPLES, SIZE).skip(1).map(|which| keys(&which)));
        }
    }
}

#[test]
fn told_the_order_of_an_epoch_a_run_reads_one_batch_ahead() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut courses = Vec::new();
    // Samples read ahead in an epoch, of 22.
    let rows = [
        (Said::Nothing, 0..1),
        (Said::ItsOrder, 22..23),
        (Said::AnotherOrder, 0..22),
        (Said::WithoutTheFirst, 18..19),
    ];
    for (said, ahead) in rows {
        let mut run = run()?.cache(ActivationCache::new().memory(0).folder(folder.path(), 1 << 20));
        run.freeze_front(3)?;
        let mut losses = Vec::new();
        while let Some(epoch) = run.next_epoch()? {
            say(&mut run, said, &epoch);
            for which in epoch.shuffled(SAMPLES, SIZE) {
                let (keys, xs, ys) = batch(&which)?;
                let scores = run.forward(&keys, xs, &())?;
                losses.push(run.step(&cross_entropy(&scores, &ys)?)?.loss.to_bits());
            }
            let stats = run.epoch_end([])?.cache.expect("a cache");
            if epoch.index > 0 {
                assert_eq!(stats.hits, 22, "{said:?}");
                assert!(ahead.contains(&stats.read_ahead), "{said:?}: {}", stats.read_ahead);
            }
        }
        courses.push(losses);
    }
    assert!(courses.iter().all(|losses| *losses == courses[0]));
    Ok(())
}
