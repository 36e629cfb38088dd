//! Stages that do nothing, whether they have parameters or not.

use std::collections::HashSet;

use candle_core::{Result, Tensor};
use candle_nn::{Activation, Linear, Module, linear};
use freeze_core::audit::{Audit, Finding, audit};
use freeze_core::nn::Dropout;
use freeze_core::{Freezable, Freezer, Staged};

use crate::models::{WIDTH, batch, builder, freezer};

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    stem: Linear,
    squash: Activation,
    dropout: Dropout,
    head: Linear,
    #[freeze(skip)]
    idle: HashSet<NetStage>,
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
        if self.idle.contains(&stage) {
            return Ok(xs);
        }
        match stage {
            NetStage::Stem => self.stem.forward(&xs),
            NetStage::Squash => self.squash.forward(&xs),
            NetStage::Dropout => self.dropout.forward(&xs, true),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

fn net(p: f32, idle: &[NetStage]) -> Freezer<Net> {
    let vb = builder();
    let part = |name: &str| linear(WIDTH, WIDTH, vb.pp(name));
    let net = || {
        let (stem, head) = (part("stem")?, part("head")?);
        let idle = idle.iter().copied().collect();
        Ok(Net { stem, squash: Activation::Sigmoid, dropout: Dropout::new(p, 1)?, head, idle })
    };
    freezer(net())
}

fn idle(audit: &Audit) -> Vec<String> {
    let paths = audit.findings().into_iter().filter_map(|finding| match finding {
        Finding::IdleStages { paths } => Some(paths),
        _ => None,
    });
    paths.flatten().collect()
}

fn audited(net: &Freezer<Net>) -> Audit {
    let x = batch();
    audit(net, |net| net.forward(x.clone(), &())?.sqr()?.mean_all()).expect("an audit")
}

#[test]
fn stages_that_are_passed_over_are_named() {
    use NetStage::{Dropout, Head, Squash, Stem};
    let rows: [(f32, &[NetStage], &[&str]); 5] = [
        (0.5, &[], &[]),
        (0.5, &[Squash], &["squash"]),
        (0.5, &[Dropout, Squash], &["squash", "dropout"]),
        (0.0, &[], &["dropout"]),
        (0.5, &[Stem, Head], &["stem", "head"]),
    ];
    for (p, passed_over, expected) in rows {
        for frozen in [0, 1] {
            let mut net = net(p, passed_over);
            net.freeze_front(frozen, &mut []).expect("a plan");
            let audit = audited(&net);
            assert_eq!(idle(&audit), expected, "{p} {passed_over:?}");
            // Those that train and are passed over are a fault besides; the others may be meant.
            let trains = |stage| passed_over.contains(&stage);
            let is_fault = trains(Head) || frozen == 0 && trains(Stem);
            assert_eq!(audit.ensure_clean().is_err(), is_fault, "{p} {passed_over:?}");
            let said = audit.to_string();
            assert_eq!(
                said.contains("computed without the stages"),
                !expected.is_empty(),
                "{said}"
            );
        }
    }
}

#[test]
fn stages_that_do_not_run_are_named() {
    let net = net(0.5, &[]);
    let x = batch();
    let short = audit(&net, |net| {
        net.head.forward(&net.forward_to(NetStage::Dropout, x.clone(), &())?)?.sqr()?.mean_all()
    });
    assert_eq!(idle(&short.expect("an audit")), ["dropout", "head"]);
    // A model that does not run stage by stage shows nothing.
    let plain = audit(&net, |net| net.head.forward(&net.stem.forward(&x)?)?.sqr()?.mean_all());
    assert_eq!(idle(&plain.expect("an audit")), [""; 0]);
}

/// A stage that is left out at random is in use.
#[test]
fn a_stage_that_runs_at_times_is_not_idle() {
    let net = net(0.5, &[]);
    let (x, calls) = (batch(), std::cell::Cell::new(0));
    let found = audit(&net, |net| {
        let call = calls.replace(calls.get() + 1);
        let from = if call == 0 { NetStage::Dropout } else { NetStage::Squash };
        net.forward_from(from, net.stem.forward(&x)?, &())?.sqr()?.mean_all()
    });
    assert_eq!(idle(&found.expect("an audit")), ["stem"]);
}
