//! How tests start ranks as processes.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What starts `size` processes, for 10 minutes at most; `None`, and a word, where there is no `mpirun`. Open MPI must be
/// told that there may be more ranks than cores, and that root knows what it does.
pub fn launcher(size: usize) -> Option<Vec<String>> {
    let Ok(version) = Command::new("mpirun").arg("--version").output() else {
        eprintln!("skipped: no mpirun; scripts/install-mpi.sh installs one");
        return None;
    };
    let mut words = vec!["mpirun"];
    if String::from_utf8_lossy(&version.stdout).contains("Open MPI") {
        words.extend(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
        words.extend(["--timeout", "600"]);
    }
    let size = size.to_string();
    words.extend(["-np", &size]);
    Some(words.into_iter().map(str::to_string).collect())
}

/// Held by whoever has started `mpirun`: two of Open MPI's that begin at once fail, where both make the folder of all.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
