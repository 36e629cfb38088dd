//! A run is the loop that one would write by hand.

use candle_core::ModuleT;
use candle_nn::{Optimizer, loss::cross_entropy};
use freeze_core::optim::{AdamW, GradAccumulator, GradClip, lr};
use freeze_core::{Elapsed, Freezable, Freezer, LayerFreezing};

use crate::rig::*;

/// Accumulation, clipping and rate, each with and without.
const ROWS: [(usize, GradClip, bool); 4] = [
    (1, GradClip::None, false),
    (1, GradClip::Norm(0.1), true),
    (3, GradClip::Value(0.01), false),
    (2, GradClip::Norm(0.1), true),
];

#[test]
fn weights_and_losses_are_those_of_the_parts_driven_by_hand() -> freeze_core::Result<()> {
    for (accumulate, clip, rated) in ROWS {
        let rate = lr::warmup(0.3, lr::linear(0.0)?)?;
        let mut run = plain()?.accumulate(accumulate)?.clip(clip)?;
        run = run.policy(LayerFreezing::new(0.2, 1.0)?);
        if rated {
            run = run.rate(rate.clone());
        }
        let mut net = Freezer::new(Net::new(1)?)?;
        let mut opt = AdamW::with_names(net.planned_vars(), params())?;
        opt.set_clip(clip)?;
        let mut hook = LayerFreezing::new(0.2, 1.0)?;
        let mut sums = GradAccumulator::new(net.vars());
        let per_epoch = BATCHES.div_ceil(accumulate);
        let mut step = 0;
        while let Some(epoch) = run.next_epoch()? {
            for (at, which) in epoch.shuffled(SAMPLES, SIZE).enumerate() {
                let (xs, ys) = batch(&which)?;
                let by_hand = cross_entropy(&net.forward_t(&xs, true)?, &ys)?;
                let reported = run.step(&loss(&run, &which)?)?;
                assert_eq!(reported.loss, f64::from(by_hand.to_scalar::<f32>()?));
                sums.accumulate(&by_hand)?;
                let due = (at + 1).is_multiple_of(accumulate) || at + 1 == BATCHES;
                assert_eq!(reported.updated, due, "{accumulate}: batch {at}");
                if due {
                    let middle = (step as f64 + 0.5) / (per_epoch * EPOCHS) as f64;
                    opt.set_learning_rate(params().lr * if rated { rate(middle) } else { 1.0 });
                    sums.step(&mut opt)?;
                    step += 1;
                }
                assert_eq!(reported.grad_norm, opt.grad_norm().filter(|_| due));
            }
            let ended = run.epoch_end([])?;
            let elapsed = Elapsed::new(epoch.index + 1, EPOCHS);
            let report = hook.epoch_end(&mut net, &mut [&mut opt], elapsed)?;
            sums.follow(&net.planned_vars());
            let frozen = ended.frozen.expect("a policy");
            assert_eq!((frozen.depth(), frozen.change), (report.depth(), report.change));
            assert_eq!(ended.elapsed.step, step);
        }
        let by_hand: Vec<_> = net.whole().named_tensors()?;
        for ((name, bits), (_, tensor)) in weights(&run).into_iter().zip(by_hand) {
            let expected: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let expected: Vec<u32> = expected.into_iter().map(f32::to_bits).collect();
            assert_eq!(bits, expected, "{accumulate} {clip:?} {rated}: `{name}`");
        }
        assert_eq!(run.freezer().plan().frozen_leaves(), 4);
        assert_eq!(
            run.optimizer_as::<AdamW>(0).expect("one").state_bytes(),
            opt.state_bytes(),
            "what froze holds no state"
        );
    }
    Ok(())
}

#[test]
fn evaluation_records_no_graph_and_changes_nothing() -> freeze_core::Result<()> {
    let (mut one, mut other) = (plain()?, plain()?);
    let (xs, _) = data()?;
    while let (Some(epoch), Some(_)) = (one.next_epoch()?, other.next_epoch()?) {
        drive_epoch(&mut one, &epoch)?;
        drive_epoch(&mut other, &epoch)?;
        let scores = one.evaluate(|net| net.forward_t(&xs, false))?;
        assert_eq!(scores.sorted_nodes().len(), 0, "no operation is recorded");
        one.epoch_end([])?;
        other.epoch_end([])?;
    }
    assert_same(&weights(&one), &weights(&other), "evaluated");
    Ok(())
}

#[test]
fn the_whole_run_can_be_sent_to_a_thread() {
    let mut run = plain().expect("a run");
    let joined = std::thread::spawn(move || drive(&mut run).map(|()| run)).join();
    let run = joined.expect("no panic").expect("a run");
    assert_eq!(run.elapsed().epoch, EPOCHS);
    assert!(format!("{run:?}").contains("AdamW"));
}
