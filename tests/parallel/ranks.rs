//! The ranks that run a case.

use std::sync::Arc;
use std::thread;

use freeze_core::Result;
use freeze_core::parallel::{Collective, Numbers, Threads};

/// A rank that may be handed on again and again, as one after another of a case's runs needs it.
#[derive(Clone, Debug)]
pub struct Rank(Arc<dyn Collective>);

/// What every rank does; it panics where something is wrong.
pub type Case = fn(Rank);

impl Collective for Rank {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        self.0.all_reduce(numbers)
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        self.0.broadcast(bytes, root)
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        self.0.all_gather(bytes, all)
    }

    fn barrier(&self) -> Result<()> {
        self.0.barrier()
    }
}

/// Runs a case on 1 to 4 ranks that are threads, and on 2 to 4 that are processes.
pub fn run(name: &str, case: Case) {
    #[cfg(feature = "mpi")]
    if processes::is_one() {
        return processes::be_one(case);
    }
    (1..=4).for_each(|size| over_threads(size, case));
    #[cfg(feature = "mpi")]
    (2..=4).for_each(|size| processes::start(size, name));
    let _ = name; // of the process
}

fn over_threads(size: usize, case: Case) {
    thread::scope(|scope| {
        for rank in Threads::ranks(size).expect("ranks") {
            scope.spawn(move || case(Rank(Arc::new(rank))));
        }
    });
}

#[cfg(feature = "mpi")]
mod processes {
    use std::panic::{self, AssertUnwindSafe};
    use std::process::{Command, exit};
    use std::sync::Arc;

    use freeze_core::parallel::Mpi;

    use super::{Case, Rank};

    const VAR: &str = "FREEZE_RANK";
    const SECONDS: &str = "600";

    /// Whether this process is a rank of a test in another.
    pub(super) fn is_one() -> bool {
        std::env::var_os(VAR).is_some()
    }

    pub(super) fn be_one(case: Case) {
        let rank = Rank(Arc::new(Mpi::new().expect("MPI")));
        // A rank that unwinds would wait at the end for the others, and they for it.
        if panic::catch_unwind(AssertUnwindSafe(|| case(rank.clone()))).is_err() {
            exit(101);
        }
    }

    /// Starts the test again as `size` processes.
    pub(super) fn start(size: usize, name: &str) {
        let Some(mut command) = mpirun() else {
            eprintln!("skipped: no mpirun; scripts/install-mpi.sh installs one");
            return;
        };
        let exe = std::env::current_exe().expect("the test binary");
        command.args(["-np", &size.to_string()]).arg(exe).args(["--exact", name, "--nocapture"]);
        let output = command.env(VAR, "1").output().expect("mpirun");
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{size} processes, {}:\n{out}\n{err}", output.status);
        let passed = out.matches("1 passed").count();
        assert_eq!(passed, size, "ranks that ran the case:\n{out}\n{err}");
    }

    /// Open MPI must be told that there may be more ranks than cores, and that root knows what it does.
    fn mpirun() -> Option<Command> {
        let version = Command::new("mpirun").arg("--version").output().ok()?;
        let mut command = Command::new("mpirun");
        if String::from_utf8_lossy(&version.stdout).contains("Open MPI") {
            command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
            command.args(["--timeout", SECONDS]);
        }
        Some(command)
    }
}
