//! Wall time, and the processor time of all threads: what a busy machine disturbs least.

use std::fs;
use std::ops::Sub;
use std::time::Instant;

/// A moment; the difference of two is a [`Span`].
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    wall: Instant,
    busy: f64,
}

/// Seconds between two moments.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) wall: f64,
    /// NaN where the system does not say.
    pub(crate) busy: f64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { wall: Instant::now(), busy: busy().unwrap_or(f64::NAN) }
    }
}

impl Sub for Moment {
    type Output = Span;

    fn sub(self, earlier: Self) -> Span {
        let wall = self.wall.duration_since(earlier.wall).as_secs_f64();
        Span { wall, busy: self.busy - earlier.busy }
    }
}

/// Linux counts nanoseconds on a processor for every thread.
fn busy() -> Option<f64> {
    let mut nanoseconds = 0.;
    for thread in fs::read_dir("/proc/self/task").ok()? {
        let counts = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += counts.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e9)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn ms(seconds: f64) -> String {
    if seconds.is_nan() { "-".into() } else { format!("{:.1}", seconds * 1e3) }
}
