//! Where metrics go: sinks that borrow, fail, are told of the end, and the file of JSON lines.

use freeze_core::checkpoint::MetricHistory;
use freeze_core::policy::Linear;
use freeze_core::{Elapsed, Error, Freezer, JsonLines, LayerFreezing, MetricSink, Result};

use crate::support::Mlp;

/// Takes so many values and then no more.
struct Failing {
    left: usize,
    finished: usize,
}

impl MetricSink for Failing {
    fn record(&mut self, _: &str, value: f64, _: Elapsed) -> Result<()> {
        if self.left == 0 {
            return Err(Error::Number { name: "room", value, expected: "some" });
        }
        self.left -= 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.finished += 1;
        Ok(())
    }
}

#[test]
fn a_failing_sink_is_heard_of_once_the_plan_is_applied() {
    for (left, metric) in [(0, "layers_frozen"), (1, "percentage_frozen")] {
        let mut net = Freezer::new(Mlp::new(5, 2).expect("a model")).expect("a freezer");
        let mut sink = Failing { left, finished: 0 };
        let hook = LayerFreezing::new(0.0, 1.0).expect("a hook");
        let mut hook = hook.with_sink(&mut sink as &mut dyn MetricSink);
        let error = hook.epoch_end(&mut net, &mut [], Elapsed::new(2, 4)).expect_err("no room");
        assert_eq!(net.plan().frozen_leaves(), 2);
        let text = error.to_string();
        let begin = format!(
            "the plan has been applied, but its metric `layer_freezing/{metric}` could not be \
             recorded: `room` is"
        );
        assert!(text.starts_with(&begin), "{text}");
        hook.finish().expect("an end");
        assert_eq!(sink.finished, 1);
    }
}

#[test]
fn a_hook_and_its_sink_go_to_another_thread() {
    let mut history = MetricHistory::default();
    let boxed: Box<dyn MetricSink + '_> = Box::new(&mut history);
    let mut hook = LayerFreezing::new(0.0, 1.0).expect("a hook").with_sink(boxed);
    std::thread::scope(|scope| {
        let run = || {
            let mut net = Freezer::new(Mlp::new(5, 2).expect("a model")).expect("a freezer");
            hook.epoch_end(&mut net, &mut [], Elapsed::new(1, 4)).expect("a report");
        };
        scope.spawn(run);
    });
    drop(hook);
    assert_eq!(history.last("layer_freezing/layers_frozen"), Some(1.0));
    let named: LayerFreezing<Linear, ()> = LayerFreezing::new(0.5, 1.0).expect("a hook");
    let shown = format!("{named:?}");
    assert!(shown.contains("linear(start=0.5") && shown.contains("Due"), "{shown}");
}

#[test]
fn a_file_of_json_lines_holds_every_value_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.jsonl");
    let values = [("loss", 0.1 + 0.2), ("a \"b\"\n", -0.0), ("x", f64::NAN), ("y", f64::INFINITY)];
    let mut lines = JsonLines::create(&path).expect("a file");
    for (name, value) in values {
        lines.record(name, value, Elapsed::new(1, 2).at_step(3, 4)).expect("recorded");
    }
    // Neither finished nor dropped: it is there.
    let read = || std::fs::read_to_string(&path).expect("a text");
    let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a line");
    let text = read();
    assert_eq!(text.lines().count(), 4);
    for ((name, value), line) in values.iter().zip(text.lines()) {
        let line = parsed(line);
        assert_eq!(line["name"], *name);
        assert_eq!([&line["epoch"], &line["epochs"], &line["step"], &line["steps"]], [1, 2, 3, 4]);
        match &line["value"] {
            serde_json::Value::String(text) => {
                assert_eq!(text.parse::<f64>().expect("a number").to_string(), value.to_string());
            }
            found => assert_eq!(found.as_f64().map(f64::to_bits), Some(value.to_bits())),
        }
    }
    // Killed within a line, and begun again.
    std::fs::write(&path, format!("{text}{{\"na")).expect("written");
    let mut again = JsonLines::create(&path).expect("a file");
    again.record("loss", 1.0, Elapsed::new(2, 2)).expect("recorded");
    again.finish().expect("an end");
    let text = read();
    assert_eq!(text.lines().count(), 6);
    assert_eq!(parsed(text.lines().last().expect("a line"))["epoch"], 2);
    assert!(JsonLines::create(dir.path()).expect_err("a folder").to_string().contains("write"));
}
