use std::collections::HashSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;

/// How many threads come inside when a call wants so many helpers, after a wait for as many as expected.
fn together(helpers: &Helpers, wanted: usize, expected: usize) -> usize {
    // One that is done early takes another place.
    let (inside, begun) = (Mutex::new(HashSet::new()), Instant::now());
    let count = || inside.lock().expect("no panic").len();
    helpers.share(wanted, &|| {
        inside.lock().expect("no panic").insert(thread::current().id());
        while count() < expected && begun.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
        // For those who are too many.
        thread::sleep(Duration::from_millis(5));
    });
    count()
}

/// Waits until all helpers sleep.
fn asleep(helpers: &Helpers) -> bool {
    let begun = Instant::now();
    while helpers.board.asleep.load(Relaxed) < helpers.count() {
        if begun.elapsed() > Duration::from_secs(10) {
            return false;
        }
        thread::yield_now();
    }
    // The last one says so just before it does, and news in between wake it.
    thread::sleep(Duration::from_millis(5));
    true
}

#[test]
fn threads_come_awake_or_asleep_as_many_as_wanted() {
    let helpers = Helpers::start("test", 3, 4);
    assert_eq!(helpers.count(), 3);
    for wanted in [0, 1, 2, 3, 3, 1] {
        assert_eq!(together(&helpers, wanted, wanted + 1), wanted + 1);
        assert!(asleep(&helpers));
        assert_eq!(together(&helpers, wanted, wanted + 1), wanted + 1, "from sleep");
    }
}

#[test]
fn no_more_are_woken_than_processors_are_free() {
    for (processors, expected) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4)] {
        let helpers = Helpers::start("test", 3, processors);
        let woken = || {
            assert!(asleep(&helpers));
            together(&helpers, 3, expected)
        };
        // One that is about to sleep may wake by itself.
        assert_eq!((0..10).map(|_| woken()).min(), Some(expected), "{processors}");
    }
    assert_eq!(together(&Helpers::start("test", 0, 4), 3, 1), 1, "none are there");
}

#[test]
fn a_call_within_a_call_counts_as_no_further_caller() {
    let helpers = Helpers::start("test", 0, 4);
    let callers = || helpers.board.callers.load(Relaxed);
    helpers.share(0, &|| {
        helpers.share(0, &|| assert_eq!(callers(), 1));
        assert_eq!(callers(), 1);
    });
    assert_eq!(callers(), 0);
}

#[test]
fn a_caller_needs_nobody_and_leaves_nothing_on_offer() {
    let helpers = &Helpers::start("test", 1, 4);
    let (free, blocked) = mpsc::channel::<()>();
    let (blocked, both) = (Mutex::new(blocked), &AtomicUsize::new(0));
    thread::scope(|scope| {
        // One of both waits for the channel, and the other for its lock.
        let wait = move || {
            both.fetch_add(1, Relaxed);
            drop(blocked.lock().map(|blocked| blocked.recv()));
        };
        let blocker = scope.spawn(move || helpers.share(1, &wait));
        let begun = Instant::now();
        while both.load(Relaxed) < 2 {
            assert!(begun.elapsed() < Duration::from_secs(10), "the helper takes part");
            thread::yield_now();
        }
        for _ in 0..3 {
            let calls = AtomicUsize::new(0);
            helpers.share(1, &|| {
                calls.fetch_add(1, Relaxed);
            });
            assert_eq!(calls.into_inner(), 1);
            assert_eq!((helpers.board.lock().len(), helpers.board.open.load(Relaxed)), (0, 0));
        }
        drop(free);
        blocker.join().expect("no panic");
    });
}
