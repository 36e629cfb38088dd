//! Processes that are killed, or whose disk is full: this test binary started once more.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::kept::{WIDTH, open, write};
use super::{right, rows, store};

const VAR: &str = "FREEZE_STORE_CHILD";

/// A command that runs the ignored test `name` of this file with `argument`.
fn command(name: &str, argument: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    let name = format!("{}::{name}", module_path!().split_once("::").expect("a crate").1);
    command.args(["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(VAR, argument);
    command
}

/// What the parent said; `None` where the ignored tests are run by hand.
fn argument() -> Option<PathBuf> {
    std::env::var_os(VAR).map(PathBuf::from)
}

/// Every row that a process had written is there after it was killed, in the middle of the next or
/// not; of the file without a name there is nothing.
#[test]
fn a_kill_costs_at_most_the_last_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut before = None;
    for round in 0..4 {
        let mut child = command("writes_until_it_is_killed", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let wrote =
            |line: std::io::Result<String>| line.ok()?.split("wrote ").nth(1)?.parse::<u64>().ok();
        let mut lines = lines.filter_map(wrote);
        let mut last = lines.by_ref().nth(round * 7).expect("rows");
        child.kill().and_then(|()| child.wait()).expect("killed");
        last = lines.last().unwrap_or(last);
        let keys: Vec<u64> = (0..=last).collect();
        assert!(Some(last) > before, "it goes on where the last one stopped");
        assert_eq!(right(&mut open(dir.path()), &keys, WIDTH).len(), keys.len());
        before = Some(last);
    }
    let left = std::fs::read_dir(dir.path().join("scratch")).expect("a folder").count();
    assert_eq!(left, 0);
}

#[test]
#[ignore = "the process that is killed"]
fn writes_until_it_is_killed() {
    let Some(dir) = argument() else { return };
    let store = store(0, Some((&dir.join("scratch"), u64::MAX)));
    let mut scratch = store.records(WIDTH);
    let mut kept = open(&dir);
    for key in kept.len() as u64.. {
        write(&mut kept, &[key]);
        write(&mut scratch, &[key]);
        println!("wrote {key}");
        std::io::stdout().flush().expect("a parent that listens");
    }
}

/// The disk is full after 8 blocks: a limit on the size of files, and no signal for it, as for a
/// write to a full disk. A shell sets both, so that no unsafe call is needed.
#[cfg(unix)]
#[test]
fn a_full_disk_is_said_once_and_nothing_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    let child = command("writes_to_a_full_disk", dir.path());
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
    shell.arg(child.get_program()).args(child.get_args());
    shell.envs(child.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = shell.output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches("cannot be written").count(), 2, "{text}");
    assert_eq!(text.matches("File too large").count(), 2, "{text}");
    assert_eq!(text.matches("budgets are used up").count(), 1, "{text}");
    // What was written whole is found.
    let keys: Vec<u64> = (0..100).collect();
    assert_eq!(right(&mut open(dir.path()), &keys, WIDTH).len(), 100);
}

#[test]
#[ignore = "the process whose disk is full"]
fn writes_to_a_full_disk() {
    let Some(dir) = argument() else { return };
    tracing::subscriber::set_global_default(Printed).expect("the only one");
    let keys: Vec<u64> = (0..100).collect();
    let identity = super::kept::identity();
    let width = 1000;
    for kept in [false, true] {
        let store = store(10_000, Some((&dir, u64::MAX)));
        let mut records = match kept {
            true => store.kept(WIDTH, &identity).expect("records"),
            false => store.records(width),
        };
        let width = if kept { WIDTH } else { width };
        let mut written = 0;
        for _ in 0..40 {
            written +=
                keys.chunks(9).map(|keys| records.write(keys, &rows(keys, width))).sum::<usize>();
        }
        assert!(written > 0 && store.usage().disk_failed, "{written}");
        right(&mut records, &keys, width);
    }
    let small = store(10, None);
    let mut records = small.records(8);
    assert_eq!((records.write(&[1, 2], &[0; 16]), records.write(&[3], &[0; 8])), (1, 0));
}

/// Prints every event.
struct Printed;

struct Line;

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        println!("{}: {value:?}", field.name());
    }
}

impl tracing::Subscriber for Printed {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
