//! This test binary started once more, for what must happen in a process of its own: one ignored
//! test, told by the environment what to do.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

const VAR: &str = "FREEZE_CHECKPOINT_CHILD";

/// A command that runs the ignored test `name` with `argument`.
pub fn command(name: &str, argument: impl AsRef<OsStr>) -> Command {
    let exe = std::env::current_exe().expect("the test binary");
    let mut command = Command::new(exe);
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(VAR, argument);
    command
}

/// What the parent said; `None` where the ignored tests are run by hand.
pub fn argument() -> Option<PathBuf> {
    std::env::var_os(VAR).map(PathBuf::from)
}

/// A count from the environment, for the long runs of docs/RELIABILITY.md.
pub fn count(var: &str, default: usize) -> usize {
    std::env::var(var).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
