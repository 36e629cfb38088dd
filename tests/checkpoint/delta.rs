//! Deltas hold what has trained, and need exactly their base.

use std::collections::HashMap;

use freeze_core::checkpoint::{load_weights, save_weights, verify};
use freeze_core::{Freezable, Result};

use crate::rig::{Kind, PER_EPOCH, Run, STEPS, When, tensors};

fn frozen_body(width: usize, seed: u64) -> Result<Run> {
    let mut run = Run::of_width(width, Kind::AdamW, When::LinearByStep, seed)?;
    run.net.freeze_front(4, &mut [run.opt.planned()])?;
    Ok(run)
}

#[test]
fn a_frozen_body_takes_no_room_and_the_run_goes_on_bit_for_bit() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [full, weights, delta, delta_of_weights] =
        ["full", "weights", "delta", "delta2"].map(|name| dir.path().join(name));
    let mut run = frozen_body(200, 1)?;
    run.save(&full)?;
    save_weights(&weights, run.net.whole())?;
    run.train(PER_EPOCH + 1, |_| Ok(()))?;
    run.with_checkpoint(|c| c.save_delta(&delta, &full))?;
    run.with_checkpoint(|c| c.save_delta(&delta_of_weights, &weights))?;
    let size = |path| std::fs::metadata(path).map(|data| data.len()).expect("a file");
    // Two body layers of 200 x 200 floats against a head of 3 x 200 with its moments.
    assert!(size(&full) > 320_000, "{}", size(&full));
    for delta in [&delta, &delta_of_weights] {
        assert!(size(delta) < 25_000, "{}", size(delta));
        assert_eq!(verify(delta)?.step, PER_EPOCH + 1);
    }
    run.train(STEPS, |_| Ok(()))?;
    let expected = run.trace()?;
    for (delta, base) in [(&delta, &full), (&delta_of_weights, &weights)] {
        let mut resumed = Run::of_width(200, Kind::AdamW, When::LinearByStep, 2)?;
        let at = resumed.with_checkpoint(|c| c.resume_delta(delta, base))?;
        resumed.step = at.progress.step;
        resumed.train(STEPS, |_| Ok(()))?;
        assert_eq!(resumed.trace()?, expected);
    }
    Ok(())
}

#[test]
fn a_delta_needs_its_own_base() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [full, other, delta, second] =
        ["full", "other", "delta", "second"].map(|name| dir.path().join(name));
    let mut run = frozen_body(8, 1)?;
    run.save(&full)?;
    run.train(2, |_| Ok(()))?;
    run.with_checkpoint(|c| c.save_delta(&delta, &full))?;
    frozen_body(8, 9)?.save(&other)?;

    let before = run.trace()?;
    let mut refused = |says: &str, act: &mut dyn FnMut(&mut Run) -> Result<()>| -> Result<()> {
        let error = act(&mut run).expect_err(says).to_string();
        assert!(error.contains(says), "`{says}` is not in: {error}");
        assert_eq!(run.trace()?, before, "{says}");
        Ok(())
    };
    refused("not what the delta was saved against; take that base", &mut |run| {
        run.with_checkpoint(|c| c.resume_delta(&delta, &other).map(drop))
    })?;
    refused("it holds only what differs from its base; use `resume_delta`", &mut |run| {
        run.resume(&delta).map(drop)
    })?;
    refused("it stands alone and needs no base", &mut |run| {
        run.with_checkpoint(|c| c.resume_delta(&full, &other).map(drop))
    })?;
    refused("it is a delta itself", &mut |run| {
        run.with_checkpoint(|c| c.save_delta(&second, &delta))
    })?;
    refused("it holds only what differs from its base", &mut |_| load_weights(&delta).map(drop))?;
    refused("No such file", &mut |run| {
        run.with_checkpoint(|c| c.save_delta(&second, dir.path().join("none")))
    })?;
    assert!(!second.exists());
    Ok(())
}

/// What a base lacks is written, and so is what it has as the same bytes in another shape.
#[test]
fn a_base_with_one_tensor_in_another_shape_shares_nothing() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [base, delta] = ["base", "delta"].map(|name| dir.path().join(name));
    let mut run = frozen_body(6, 2)?;
    let expected = tensors(run.net.whole())?;
    let named = run.net.whole().named_tensors()?;
    let (name, weight) = named.iter().find(|(_, tensor)| tensor.rank() == 2).expect("a weight");
    let flat = HashMap::from([(name.as_str(), weight.flatten_all()?)]);
    candle_core::safetensors::save(&flat, &base)?;
    run.with_checkpoint(|c| c.save_delta(&delta, &base))?;
    let mut resumed = Run::of_width(6, Kind::AdamW, When::LinearByStep, 3)?;
    resumed.with_checkpoint(|c| c.resume_delta(&delta, &base))?;
    assert_eq!(tensors(resumed.net.whole())?, expected);
    Ok(())
}

/// Another model's tensors of the same name but another shape are written, not looked for.
#[test]
fn a_base_of_another_shape_shares_nothing() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [base, delta] = ["base", "delta"].map(|name| dir.path().join(name));
    frozen_body(8, 1)?.save(&base)?;
    let mut run = frozen_body(6, 2)?;
    run.with_checkpoint(|c| c.save_delta(&delta, &base))?;
    let expected = tensors(run.net.whole())?;
    let mut resumed = Run::of_width(6, Kind::AdamW, When::LinearByStep, 3)?;
    resumed.with_checkpoint(|c| c.resume_delta(&delta, &base))?;
    assert_eq!(tensors(resumed.net.whole())?, expected);
    Ok(())
}
