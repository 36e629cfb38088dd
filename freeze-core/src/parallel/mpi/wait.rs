//! Waiting for the other ranks without keeping a core from them.

use std::hint::spin_loop;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mpi::request::{Request, Scope};

/// As long as this a rank looks without a pause: where all are at the call it takes microseconds.
const WATCH: Duration = Duration::from_micros(50);

/// The longest sleep between two looks.
const NAP: Duration = Duration::from_micros(200);

/// Waits for a call to end. MPI moves on only while somebody looks, and its own waiting never stops looking, on a core
/// that another thread or rank may need. Sleeping and not yielding: who yields to a thread that computes gets the
/// core back after milliseconds, who wakes up gets it at once.
pub(super) fn wait<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) {
    let start = Instant::now();
    loop {
        match request.test() {
            Ok(_) => return,
            Err(still) => request = still,
        }
        match start.elapsed() {
            waited if waited < WATCH => spin_loop(),
            waited => sleep((waited / 8).min(NAP)),
        }
    }
}
