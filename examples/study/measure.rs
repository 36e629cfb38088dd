//! What a process has used, as Linux counts it.

use std::fs;

/// Ticks in a second of `/proc`: the same on all machines since Linux 2.6.
const TICKS: f64 = 100.0;

/// Seconds of processor time of all threads so far; nothing where there is no `/proc`.
pub(crate) fn processor_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold spaces: the state is field 3, user and system time are 14 and 15.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// The most bytes of memory that the process held at a time; nothing where there is no `/proc`.
pub(crate) fn peak_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
