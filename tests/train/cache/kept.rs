//! Records that are kept across runs.

use candle_core::Var;
use freeze_core::cache::{self, CacheStats, Precision};
use freeze_core::optim::AdamW;
use freeze_core::{ActivationCache, Result, Training};

use super::net::*;

/// A run over the front of seed 1, with another head, of which the first four leaves are frozen.
fn sweep(head: u64, cache: Option<ActivationCache>) -> Result<Training<Net>> {
    let net = Net { head: Net::new(head)?.head, ..Net::new(1)? };
    let mut run = Training::new(net)?.seed(head).length(2, BATCHES)?;
    run = run.optimizer(|vars| AdamW::with_names(vars, params()))?;
    if let Some(cache) = cache {
        run = run.cache(cache);
    }
    run.freeze_front(4)?;
    Ok(run)
}

fn stats(run: &Training<Net>) -> CacheStats {
    run.activation_cache().expect("a cache").stats()
}

#[test]
fn later_runs_over_the_same_front_read_from_the_first_step() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for (head, misses, hits) in [(5, 22, 22), (6, 0, 44), (7, 0, 44)] {
        let plain = course(&mut sweep(head, None)?, |_, _| Ok(()))?;
        let cache = ActivationCache::new().kept(folder.path(), 1 << 20);
        let mut run = sweep(head, Some(cache))?;
        let cached = course(&mut run, |_, _| Ok(()))?;
        assert!(cached == plain, "head {head}");
        assert_eq!((stats(&run).misses, stats(&run).hits), (misses, hits), "head {head}");
        let ran = run.model().runs.of("stem");
        // A few samples show what flows and that it may be kept: twice, and for a half.
        assert_eq!(ran, misses as usize + 2 * 4 + 2, "head {head}");
    }
    Ok(())
}

/// Of a folder that is kept and one that is not the last one counts, and what it says.
#[test]
fn the_last_folder_takes_the_place_of_the_other() -> Result<()> {
    for kept_last in [false, true] {
        let folders = [tempfile::tempdir(), tempfile::tempdir()].map(|dir| dir.expect("a folder"));
        let [kept, scratch] = folders.each_ref().map(|dir| dir.path());
        let cache = ActivationCache::new().memory(0);
        let cache = match kept_last {
            true => cache.folder(scratch, 1 << 20).kept(kept, 1 << 20),
            false => cache.kept(kept, 1 << 20).folder(scratch, 1 << 20),
        };
        let mut run = sweep(5, Some(cache))?;
        course(&mut run, |_, _| Ok(()))?;
        assert_eq!((stats(&run).hits, stats(&run).disk_bytes > 0), (22, true));
        drop(run);
        let files = |folder| std::fs::read_dir(folder).expect("a folder").count();
        assert_eq!([files(kept) > 0, files(scratch) > 0], [kept_last, false], "{kept_last}");
    }
    Ok(())
}

/// A front that is frozen further goes on from what was kept of the shorter one.
#[test]
fn a_deeper_front_goes_on_from_what_a_shallower_kept() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    // Leaves frozen, precision; misses, extended, hits; samples through `stem` but for trials.
    let rows = [
        (2, Precision::Exact, [22, 0, 22]),
        (4, Precision::Exact, [0, 22, 22]),
        (3, Precision::Exact, [0, 22, 22]),
        (4, Precision::Exact, [0, 0, 44]),
        (1, Precision::Exact, [22, 0, 22]),
        // Rounded twice would be another run.
        (2, Precision::F16, [22, 0, 22]),
        (4, Precision::F16, [22, 0, 22]),
    ];
    for (leaves, precision, counts) in rows {
        let cache = ActivationCache::new().kept(folder.path(), 1 << 20).precision(precision);
        let (mut run, mut plain) = (sweep(5, Some(cache))?, sweep(5, None)?);
        run.freeze_front(leaves)?;
        plain.freeze_front(leaves)?;
        let cached = course(&mut run, |_, _| Ok(()))?;
        let context = format!("{leaves} leaves, {precision:?}");
        if precision == Precision::Exact {
            assert!(cached == course(&mut plain, |_, _| Ok(()))?, "{context}");
        }
        let stats = stats(&run);
        assert_eq!([stats.misses, stats.extended, stats.hits], counts, "{context}");
        assert_eq!(run.model().runs.of("stem"), counts[0] as usize + 2 * 4 + 2, "{context}");
    }
    Ok(())
}

#[test]
fn what_was_computed_otherwise_is_not_read() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = || ActivationCache::new().kept(folder.path(), 1 << 20).version("flipped");
    course(&mut sweep(5, Some(cache()))?, |_, _| Ok(()))?;
    type Change = fn(&mut Training<Net>) -> Result<()>;
    let nothing: Change = |_| Ok(());
    let rows: [(&str, ActivationCache, Change, u64); 6] = [
        ("the same", cache(), nothing, 44),
        ("other data", cache().version("as they are"), nothing, 22),
        ("another precision", cache().precision(Precision::BF16), nothing, 22),
        (
            "weights",
            cache(),
            |run| {
                let var = Var::from_tensor(run.freezer().whole().blocks[1].weight())?;
                Ok(var.set(&(var.as_tensor() * 0.5)?)?)
            },
            22,
        ),
        ("an earlier boundary", cache(), |run| run.freeze_front(2).map(drop), 22),
        (
            "the batch norms' policy",
            cache(),
            |run| run.set_batch_norm(freeze_core::BatchNormPolicy::Inference),
            22,
        ),
    ];
    for (what, cache, change, hits) in rows {
        let (mut run, mut plain) = (sweep(6, Some(cache))?, sweep(6, None)?);
        change(&mut run)?;
        change(&mut plain)?;
        let cached = course(&mut run, |_, _| Ok(()))?;
        if what != "another precision" {
            assert!(cached == course(&mut plain, |_, _| Ok(()))?, "{what}");
        }
        assert_eq!(stats(&run).hits, hits, "{what}");
    }
    Ok(())
}

#[test]
fn another_input_under_a_kept_key_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = || ActivationCache::new().kept(folder.path(), 1 << 20);
    let (keys, xs, _) = batch(&[0, 1, 2])?;
    sweep(5, Some(cache()))?.forward(&keys, xs.clone(), &())?;
    let other = (&xs + 1.0)?;
    let mut refusing = sweep(5, Some(cache()))?;
    let error = refusing.forward(&keys, other.clone(), &()).expect_err("refused");
    assert!(error.to_string().contains("key 1000"), "{error}");
    assert!(error.to_string().contains("`version`"), "{error}");
    // What was refused was not noted, of no key.
    refusing.forward(&keys, xs, &())?;
    assert_eq!(stats(&refusing).hits, 3);
    // Nor of a key that is new, beside one that was kept: here, or for a later run.
    let (keys, right, _) = batch(&[3, 0])?;
    let mut refusing = sweep(5, Some(cache()))?;
    assert!(refusing.forward(&keys, (&right + 1.0)?, &()).is_err());
    refusing.forward(&keys, right.clone(), &())?;
    let mut later = sweep(5, Some(cache()))?;
    later.forward(&keys, right, &())?;
    assert_eq!(stats(&later).hits, 2);
    let (keys, ..) = batch(&[0, 1, 2])?;
    let mut trusting = sweep(5, Some(cache().unchecked_inputs()))?;
    trusting.forward(&keys, other, &())?;
    assert_eq!(stats(&trusting).hits, 3);
    Ok(())
}

/// A setting that is no tensor, in a run that was not given another `version`: the samples that show the layout are compared
/// with what is kept of them.
#[test]
fn records_of_another_forward_are_refused_and_not_read() -> Result<()> {
    for precision in [Precision::Exact, Precision::F16, Precision::BF16] {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = || ActivationCache::new().kept(folder.path(), 1 << 20).precision(precision);
        let run = |bend: f64, cache: ActivationCache| -> Result<Training<Net>> {
            let net = Net { bend, ..Net::new(1)? };
            let mut run = Training::new(net)?.length(2, BATCHES)?.cache(cache);
            run = run.optimizer(|vars| AdamW::with_names(vars, params()))?;
            run.freeze_front(3)?;
            Ok(run)
        };
        let (keys, xs, _) = batch(&[0, 1, 2])?;
        run(1.0, cache())?.forward(&keys, xs.clone(), &())?;
        let mut other = run(1.2, cache())?;
        for _ in 0..2 {
            let refused = other.forward(&keys, xs.clone(), &()).expect_err("another forward");
            assert!(refused.to_string().contains("another `version`"), "{refused}");
            assert_eq!(stats(&other).hits, 0);
        }
        // The last bits are other ones where the arithmetic is, and no reason.
        let mut near = run(1.0 + 1e-6, cache())?;
        near.forward(&keys, xs.clone(), &())?;
        assert_eq!(stats(&near).hits, 3, "{precision:?}");
        let mut anew = run(1.2, cache().version("bent"))?;
        anew.forward(&keys, xs.clone(), &())?;
        assert_eq!(stats(&anew).misses, 3);
        // It stays refused where no record shows it, else the next batch would read what the first could not, and also once
        // another run has cleared the folder; with no samples there is nothing to refuse.
        let (others, ys, _) = batch(&[4, 5])?;
        assert!(other.forward(&others, ys, &()).is_err());
        let (none, empty, _) = batch(&[])?;
        assert_eq!(other.forward(&none, empty, &())?.dims(), [0, 3]);
        cache::clear(folder.path(), |_| true)?;
        assert!(other.forward(&keys, xs.clone(), &()).is_err());
        run(1.2, cache())?.forward(&keys, xs.clone(), &())?;
        // It is of those records alone: a front that has trained since has its own.
        let mut thawed = run(0.2, cache())?;
        assert!(thawed.forward(&keys, xs.clone(), &()).is_err());
        thawed.freeze_front(0)?;
        thawed.next_epoch()?.expect("an epoch");
        let thawed_out = thawed.forward(&keys, xs.clone(), &())?;
        assert_eq!(thawed_out.dims(), [3, 3]);
        thawed.step(&thawed_out.sqr()?.mean_all()?)?;
        thawed.freeze_front(3)?;
        thawed.forward(&keys, xs, &())?;
        assert_eq!(stats(&thawed).misses, 3, "{precision:?}");
    }
    Ok(())
}

/// Nobody has seen what was run: it may have been another input.
#[test]
fn what_a_run_kept_without_looking_is_not_trusted_by_one_that_looks() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = || ActivationCache::new().kept(folder.path(), 1 << 20);
    let (keys, xs, _) = batch(&[0, 1, 2])?;
    let mut blind = sweep(5, Some(cache().unchecked_inputs()))?;
    blind.forward(&keys, (&xs + 1.0)?, &())?;
    // The next that does not look finds them.
    let mut next = sweep(5, Some(cache().unchecked_inputs()))?;
    next.forward(&keys[..2], xs.narrow(0, 0, 2)?, &())?;
    assert_eq!(stats(&next).hits, 2);
    let plain = sweep(5, None)?.forward(&[], xs.clone(), &())?;
    for (hits, misses) in [(0, 3), (3, 0)] {
        let mut looking = sweep(5, Some(cache()))?;
        let found = looking.forward(&keys, xs.clone(), &())?;
        assert_eq!(found.to_vec2::<f32>()?, plain.to_vec2::<f32>()?);
        assert_eq!((stats(&looking).hits, stats(&looking).misses), (hits, misses));
    }
    Ok(())
}

/// Whether a run freezes further as it goes on or begins there, and whichever was first, it is the same run.
#[test]
fn rounded_records_are_rounded_once_however_a_front_became_as_deep() -> Result<()> {
    let (keys, xs, _) = batch(&[0, 1, 2, 3])?;
    // Two forwards, so that the dropout behind the front has drawn as much.
    let second = |cache: ActivationCache, first: usize| -> Result<_> {
        let mut run = sweep(5, Some(cache))?;
        run.freeze_front(first)?;
        run.forward(&keys, xs.clone(), &())?;
        run.freeze_front(4)?;
        Ok((run.forward(&keys, xs.clone(), &())?.to_vec2::<f32>()?, stats(&run)))
    };
    for precision in [Precision::F16, Precision::BF16, Precision::Exact] {
        let [folder, elsewhere] = [0; 2].map(|_| tempfile::tempdir().expect("a folder"));
        let cache =
            |at: &std::path::Path| ActivationCache::new().kept(at, 1 << 20).precision(precision);
        let (_, counted) = second(cache(folder.path()), 2)?;
        let exact = precision == Precision::Exact;
        assert_eq!((counted.misses, counted.extended), if exact { (4, 4) } else { (8, 0) });
        let (later, counted) = second(cache(folder.path()), 4)?;
        assert_eq!((counted.misses, counted.hits), (0, 8), "{precision:?}");
        // Of another run, which nobody went before.
        second(cache(elsewhere.path()), 4)?;
        assert_eq!(later, second(cache(elsewhere.path()), 4)?.0, "{precision:?}");
    }
    Ok(())
}

#[test]
fn a_folder_is_listed_and_cleared_and_has_a_budget() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = |bytes| ActivationCache::new().memory(32 * 5).kept(folder.path(), bytes);
    course(&mut sweep(5, Some(cache(1 << 20).version("a")))?, |_, _| Ok(()))?;
    course(&mut sweep(5, Some(cache(1 << 20).version("b")))?, |_, _| Ok(()))?;
    let fronts = cache::list(folder.path())?;
    let mut data: Vec<&str> = fronts.iter().map(|front| front.data.as_str()).collect();
    data.sort_unstable();
    assert_eq!(data, ["a", "b"]);
    assert!(fronts.iter().all(|front| front.stage == "dropout" && front.model.ends_with("Net")));
    assert!(cache::clear(folder.path(), |front| front.data == "a")? > 22 * 32);
    assert_eq!(cache::list(folder.path())?.len(), 1);
    // No room in the folder: a few records of 40 bytes find room in memory.
    let mut run = sweep(5, Some(cache(0).version("c")))?;
    let cached = course(&mut run, |_, _| Ok(()))?;
    assert!(cached == course(&mut sweep(5, None)?, |_, _| Ok(()))?);
    assert_eq!((stats(&run).records, stats(&run).full), (4, true));
    Ok(())
}
