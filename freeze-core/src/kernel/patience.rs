//! Waiting without sleep, as long as sleep would cost more.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// Whether it `happened` before long, and while it was `worthwhile` to look on.
///
/// For the next kernel of a step, or the last piece of one, a thread waits a few hundred microseconds at most. If it
/// slept, another program would have its processor for a whole time slice, some milliseconds, although the thread
/// has not used up its own. What takes longer is worth sleep: then mostly the other thread is the one that waits
/// for a processor, and whoever looks on meanwhile uses up time that it could work in when that goes on.
pub(crate) fn soon(happened: impl Fn() -> bool, worthwhile: impl Fn() -> bool) -> bool {
    /// With 20 and with 1000 microseconds, steps beside other programs are slower (`docs/PERFORMANCE.md`).
    const PATIENCE: Duration = Duration::from_micros(200);
    /// How often it looks between two looks at the clock.
    const LOOKS: usize = 16;
    let begun = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if happened() {
                return true;
            }
            spin_loop();
        }
        if begun.elapsed() >= PATIENCE || !worthwhile() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_happens_is_seen_and_what_does_not_ends() {
        let looks = Cell::new(0);
        for needed in [1, 2, 100] {
            looks.set(0);
            let look = || {
                looks.set(looks.get() + 1);
                looks.get() == needed
            };
            let happened = soon(look, || true);
            assert!(happened || looks.get() < needed, "{needed}");
        }
        let begun = Instant::now();
        looks.set(0);
        assert!(!soon(|| false, || true));
        assert!(begun.elapsed() >= Duration::from_micros(200));
        assert!(!soon(|| looks.replace(looks.get() + 1) > 1000, || false), "not worthwhile");
    }
}
