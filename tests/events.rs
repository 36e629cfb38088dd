//! What the library traces. Alone in its process: whether anybody listens is remembered for each
//! event, for all threads.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Result, Tensor};
use candle_nn::{Linear, Optimizer, SGD};
use freeze_core::checkpoint::{Checkpoint, Goal, Manager, MetricHistory};
use freeze_core::{Elapsed, Freezable, Freezer};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Keeps every event's fields as text.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{}={value:?};", field.name());
    }
}

impl Subscriber for Events {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().expect("unpoisoned").push(fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn layers(n: usize) -> Result<Vec<Linear>> {
    let weight = |_| Tensor::ones((2, 2), candle_core::DType::F32, &Device::Cpu);
    (0..n).map(|i| Ok(Linear::new(weight(i)?, None))).collect()
}

/// Where a thread without a subscriber meets an event first, it can be lost to the others.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn one_event_for_each_change() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let events = Events::default();
    tracing::subscriber::with_default(events.clone(), || {
        let model = layers(3).and_then(|plain| Ok(plain.into_trainable()?)).expect("a model");
        let mut net = Freezer::new(model).expect("a freezer");
        let mut sgd = SGD::new(net.vars(), 0.1).expect("sgd");
        net.freeze_front(2, &mut [&mut sgd]).expect("frozen");
        net.freeze_front(2, &mut [&mut sgd]).expect("nothing new");
        net.thaw(&mut [&mut sgd]).expect("thawed");
        let mut plain = Freezer::new(layers(2).expect("plain tensors")).expect("a freezer");
        let all = plain.plan().clone();
        let mut front = all.clone();
        front.freeze_front(1).expect("a plan");
        plain.refine(&front, &mut []).expect("a schedule may");
        plain.refine(&all, &mut []).expect("a schedule may");
    });
    let events = events.0.lock().expect("unpoisoned");
    let [frozen, thawed, warning, _, again, _] = &events[..] else { panic!("{events:?}") };
    assert!(
        frozen.contains("frozen=\"0 1\"") && frozen.contains("parameters_released=8"),
        "{frozen}"
    );
    assert!(
        thawed.contains("thawed=\"0 1\"") && thawed.contains("parameters_trained=12"),
        "{thawed}"
    );
    for (warning, leaves) in [(warning, "leaves=\"`0`, `1`\""), (again, "leaves=\"`0`\"")] {
        assert!(warning.contains("no variables") && warning.contains(leaves), "{warning}");
    }
}

/// A metric by another name would never be kept.
#[test]
fn a_best_that_never_comes_is_warned_of() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let events = Events::default();
    let dir = tempfile::tempdir().expect("a folder");
    let manager = Manager::new(dir.path()).expect("a manager").keep_best("accuracy", Goal::Highest);
    let mut net = Freezer::new(layers(1).expect("a model")).expect("a freezer");
    let mut history = MetricHistory::default();
    let mut warned = Vec::new();
    for (epoch, metric) in [(1, None), (2, Some("acuracy")), (3, Some("accuracy"))] {
        let at = Elapsed::new(epoch, 9);
        metric.into_iter().for_each(|metric| history.record(metric, 0.5, at));
        tracing::subscriber::with_default(events.clone(), || {
            let run = Checkpoint::of(&mut net).history(&mut history).progress(at);
            manager.save(run).expect("saved");
        });
        warned.append(&mut events.0.lock().expect("unpoisoned"));
    }
    let [warning] = &warned[..] else { panic!("{warned:?}") };
    assert!(warning.contains("metric=\"accuracy\"") && warning.contains("`acuracy`"), "{warning}");
}
