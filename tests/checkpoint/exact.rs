//! A resumed run equals the uninterrupted one, bit for bit.

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::checkpoint::Checkpoint;
use freeze_core::nn::{BatchNorm, batch_norm};
use freeze_core::{BatchNormPolicy, Freezer, Result};

use crate::rig::{Kind, PER_EPOCH, Run, STEPS, When, bits};

const KINDS: [Kind; 4] = [Kind::Candle, Kind::Momentum, Kind::AdamW, Kind::Adam];
const WHENS: [When; 3] = [When::LinearByEpoch, When::LinearByStep, When::OneMoreByEpoch];

/// Stops after every single step, epoch ends included, and goes on in a fresh model with other
/// weights, another optimizer, schedule and generators.
#[test]
fn a_run_resumed_after_any_step_is_the_uninterrupted_one() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut depths = std::collections::BTreeSet::new();
    for (kind, when) in KINDS.into_iter().flat_map(|kind| WHENS.map(|when| (kind, when))) {
        let file = |step: usize| dir.path().join(format!("{step}.safetensors"));
        let mut first = Run::new(kind, when, 1)?;
        first.save(&file(0))?;
        first.train(STEPS, |_| Ok(()))?;
        let expected = first.trace()?;

        // The same once more, saving after every step: saving changes nothing.
        let mut saving = Run::new(kind, when, 2)?;
        saving.resume(&file(0))?;
        saving.train(STEPS, |run| {
            depths.insert((when as u8, run.step, run.net.plan().frozen_leaves()));
            run.save(&file(run.step))
        })?;
        assert_eq!(saving.trace()?, expected, "{kind:?} {when:?} saving");

        for stop in 0..=STEPS {
            let mut resumed = Run::new(kind, when, 3)?;
            // Neither a fresh optimizer nor one that has trained may matter.
            if stop % 2 == 1 {
                resumed.train(PER_EPOCH + 1, |_| Ok(()))?;
            }
            let at = resumed.resume(&file(stop))?;
            assert_eq!((at.progress.step, at.samples), (stop, 4 * stop as u64));
            resumed.train(STEPS, |_| Ok(()))?;
            assert_eq!(resumed.trace()?, expected, "{kind:?} {when:?} after {stop}");
        }
    }
    // The stops that matter were among them: before the first freeze, at one, and with all but the
    // last of five leaves frozen while steps were left, in the middle of an epoch and at its end.
    let had = |when: When, step, frozen| depths.contains(&(when as u8, step, frozen));
    assert!(had(When::LinearByEpoch, 1, 0) && had(When::LinearByEpoch, 2 * PER_EPOCH, 0));
    assert!(had(When::LinearByEpoch, 3 * PER_EPOCH, 1));
    assert!(had(When::LinearByStep, 8, 1) && 8 % PER_EPOCH != 0);
    assert!(had(When::OneMoreByEpoch, 4 * PER_EPOCH, 4));
    assert!(had(When::OneMoreByEpoch, 4 * PER_EPOCH + 1, 4));
    Ok(())
}

/// What was frozen and scaled by hand stays so under the schedule, in the resumed run too.
#[test]
fn the_base_plan_and_the_batch_norm_policy_come_back() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    let mut run = Run::new(Kind::Adam, When::LinearByEpoch, 1)?;
    let mut by_hand = run.net.plan().clone();
    by_hand.freeze("body.1")?.train("head", 0.5)?;
    run.net.apply(&by_hand, &mut [run.opt.planned()])?;
    run.train(PER_EPOCH * 3 + 1, |_| Ok(()))?;
    run.net.set_batch_norm(BatchNormPolicy::Inference)?;
    run.save(&path)?;
    run.net.set_batch_norm(BatchNormPolicy::AsCaller)?;

    let mut resumed = Run::new(Kind::Adam, When::LinearByEpoch, 2)?;
    resumed.resume(&path)?;
    assert_eq!(resumed.net.base(), &by_hand);
    assert_ne!(resumed.net.plan(), &by_hand);
    assert_eq!(resumed.net.batch_norm(), BatchNormPolicy::Inference);
    resumed.net.set_batch_norm(BatchNormPolicy::AsCaller)?;
    for run in [&mut run, &mut resumed] {
        run.train(STEPS, |_| Ok(()))?;
    }
    assert_eq!(resumed.trace()?, run.trace()?);
    Ok(())
}

/// Not the setting alone: the resumed view normalises by it.
#[test]
fn a_frozen_batch_norm_goes_on_as_its_policy_says() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let batch =
        |i: usize| Tensor::arange(0f32, 12., &Device::Cpu)?.affine(0.5, i as f64)?.reshape((4, 3));
    let net = || -> Result<Freezer<BatchNorm>> {
        let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
        Freezer::new(batch_norm(3, 1e-5, vb)?)
    };
    for (policy, rests) in [(BatchNormPolicy::Inference, true), (BatchNormPolicy::AsCaller, false)]
    {
        let path = dir.path().join("run.safetensors");
        let mut first = net()?;
        first.forward_t(&batch(1)?, true)?;
        first.freeze_front(1, &mut [])?;
        first.set_batch_norm(policy)?;
        Checkpoint::of(&mut first).save(&path)?;
        let saved = bits(first.running_mean());

        let mut resumed = net()?;
        Checkpoint::of(&mut resumed).resume(&path)?;
        let [ours, theirs] = [&first, &resumed].map(|net| net.forward_t(&batch(2)?, true));
        assert_eq!(bits(&theirs?), bits(&ours?), "{policy:?}");
        assert_eq!(bits(resumed.running_mean()) == saved, rests, "{policy:?}");
        assert_eq!(bits(resumed.running_mean()), bits(first.running_mean()), "{policy:?}");
    }
    Ok(())
}
