//! The hook's audit after each change of plan.

use std::sync::{Arc, Mutex};

use candle_nn::LayerNorm;
use freeze_core::policy::{FreezeAtSettings, Settings};
use freeze_core::{Elapsed, LayerFreezing};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::models::{Normed, batch, freezer, loss};

/// Collects the text of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Visit for Warnings {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().expect("a lock").push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// One test for all, since `tracing` may switch off a warning for all threads that one thread met
/// without a subscriber.
#[test]
fn runs_on_the_first_step_after_a_change_and_warns() {
    let x = batch();
    let mut net = freezer(Normed::<LayerNorm>::new());
    let mut hook = LayerFreezing::new(0.0, 1.0).expect("a hook");
    let warnings = Warnings::default();
    let mut ran = Vec::new();
    for epoch in 0..4 {
        for step in 0..3 {
            let audit = tracing::subscriber::with_default(warnings.clone(), || {
                hook.audit_change(&net, |m| loss(m, &x)).expect("an audit")
            });
            if let Some(audit) = audit {
                ran.push((epoch, step, audit.ensure_clean().is_ok()));
            }
        }
        hook.epoch_end(&mut net, &mut [], Elapsed::new(epoch + 1, 8)).expect("a report");
    }
    // Depths 0, 0, 0, 1 of 4 leaves: the plan changes once.
    assert_eq!(net.plan().frozen_leaves(), 1);
    assert_eq!(ran, [(0, 0, false), (3, 0, false)]);

    let warned = warnings.0.lock().expect("a lock").clone();
    let names = |warning: &str| warning.split(':').next().map(str::to_string);
    assert_eq!(
        warned.iter().filter_map(|warning| names(warning)).collect::<Vec<_>>(),
        ["no gradient reaches `stem`, `body`, `norm`", "no gradient reaches `body`, `norm`",]
    );

    // Whoever shows no step is told once.
    let mut blind = LayerFreezing::new(0.0, 1.0).expect("a hook");
    tracing::subscriber::with_default(warnings.clone(), || {
        for epoch in 1..=3 {
            blind.epoch_end(&mut net, &mut [], Elapsed::new(epoch, 8)).expect("a report");
        }
    });
    let told = warnings.0.lock().expect("a lock").split_off(2);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("no step was shown to the hook"));

    // A failed one counts for nothing.
    let mut hook = LayerFreezing::new(0.0, 1.0).expect("a hook");
    let failing = hook.audit_change(&net, |_| candle_core::bail!("no loss"));
    assert!(failing.is_err());
    let again = hook.audit_change(&net, |m| loss(m, &x)).expect("an audit");
    assert!(again.is_some());

    its_backward_reports_findings();
    a_start_that_was_missed_is_warned_of();
}

/// What the backward saw, once for each plan.
fn its_backward_reports_findings() {
    let x = batch();
    let mut net = freezer(Normed::<LayerNorm>::new());
    let mut hook = LayerFreezing::new(0.0, 1.0).expect("a hook");
    let mut reported = Vec::new();
    for epoch in 0..4 {
        for step in 0..3 {
            let loss = loss(&*net, &x).expect("a loss");
            let plain = loss.backward();
            let ours = match (epoch + step) % 2 {
                0 => hook.backward_once(&net, &loss),
                _ => hook.backward(&net, &loss),
            };
            let (ours, plain) = (ours.expect("gradients"), plain.expect("gradients"));
            let vars = net.vars();
            let both = vars.iter().map(|var| (ours.get(var).is_some(), plain.get(var).is_some()));
            assert!(both.into_iter().all(|(ours, plain)| ours == plain));
        }
        let elapsed = Elapsed::new(epoch + 1, 8);
        let report = hook.epoch_end(&mut net, &mut [], elapsed).expect("a report");
        reported.push(report.findings.len());
    }
    // Depths 0, 0, 0, 1: the fourth epoch trains under another plan.
    assert_eq!(reported, [1, 0, 0, 1]);
}

/// Once, and not where the hook was told of the start.
fn a_start_that_was_missed_is_warned_of() {
    for (begins, expected) in [(false, 1), (true, 0)] {
        let mut net = freezer(Normed::<LayerNorm>::new());
        let policy = FreezeAtSettings::default().policy().expect("a policy");
        let mut hook = LayerFreezing::with_policy(policy);
        let warnings = Warnings::default();
        tracing::subscriber::with_default(warnings.clone(), || {
            if begins {
                hook.begin(&mut net, &mut [], Elapsed::new(0, 8)).expect("begun");
            }
            for epoch in 1..=2 {
                hook.epoch_end(&mut net, &mut [], Elapsed::new(epoch, 8)).expect("a report");
            }
        });
        let warned = warnings.0.lock().expect("a lock");
        let of_begin = warned.iter().filter(|warning| warning.contains("hook's `begin`")).count();
        assert_eq!(of_begin, expected, "{warned:?}");
    }
}
