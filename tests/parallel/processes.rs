//! This test binary as the processes of an MPI run.

use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, exit};
use std::sync::Arc;

use freeze_core::parallel::Mpi;

use crate::mpirun::{launcher, turn};
use crate::ranks::{Case, Rank};

const VAR: &str = "FREEZE_RANK";

/// Whether this process is a rank of a test in another.
pub fn is_one() -> bool {
    std::env::var_os(VAR).is_some()
}

pub fn be_one(case: Case) {
    let rank = Rank::new(Arc::new(Mpi::new().expect("MPI")));
    // A rank that unwinds would wait at the end for the others, and they for it.
    if panic::catch_unwind(AssertUnwindSafe(|| case(rank.clone()))).is_err() {
        exit(101);
    }
}

/// Starts a test again as `size` processes; says that it is skipped where there is no `mpirun`.
pub fn start(size: usize, name: &str) {
    let Some(words) = mpirun(size, name) else { return };
    let _turn = turn();
    let mut command = Command::new(&words[0]);
    let output = command.args(&words[1..]).env(VAR, "1").output().expect("mpirun");
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{size} processes, {}:\n{out}\n{err}", output.status);
    let passed = out.matches("1 passed").count();
    assert_eq!(passed, size, "ranks that ran the case:\n{out}\n{err}");
}

/// The command that runs a test as `size` processes.
pub fn mpirun(size: usize, name: &str) -> Option<Vec<String>> {
    let mut words = launcher(size)?;
    let exe = std::env::current_exe().expect("the test binary");
    words.extend(exe.to_str().map(str::to_string));
    words.extend(["--exact", name, "--include-ignored", "--nocapture"].map(str::to_string));
    Some(words)
}
