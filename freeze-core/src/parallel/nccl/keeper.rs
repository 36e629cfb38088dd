//! A thread that alone holds something, and answers within time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};

/// How much longer than the thread itself its keeper waits.
const GRACE: Duration = Duration::from_millis(500);

/// An answer that is an error, or does not come in time, is the last one.
#[derive(Debug)]
pub(super) struct Keeper<Q> {
    patience: Duration,
    /// `None` once an answer was an error, or did not come.
    at: Mutex<Option<At<Q>>>,
}

#[derive(Debug)]
struct At<Q> {
    ask: Sender<Q>,
    answers: Receiver<Result<()>>,
    thread: JoinHandle<()>,
}

impl<Q: Send + 'static> Keeper<Q> {
    /// Has a thread make what it alone holds, and waits until it has, as long as `begin`.
    pub(super) fn start<T>(
        (begin, patience): (Duration, Duration),
        make: impl FnOnce() -> Result<T> + Send + 'static,
        answer: impl Fn(&T, Q) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let ((ask, questions), (tell, answers)) = (channel(), channel());
        let serve = move || {
            let held = match make() {
                Ok(held) => held,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let mut told = tell.send(Ok(()));
            while let (Ok(()), Ok(question)) = (&told, questions.recv()) {
                let said = answer(&held, question);
                let fails = said.is_err();
                told = tell.send(said);
                if fails {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("freeze-card".into()).spawn(serve);
        let thread =
            thread.map_err(|error| Error::nccl(format!("cannot start a thread: {error}")))?;
        let this = Self { patience, at: Mutex::new(Some(At { ask, answers, thread })) };
        this.answer(begin, |_| ())?;
        Ok(this)
    }

    /// An error if the answer is one, or does not come in time.
    pub(super) fn ask(&self, question: Q) -> Result<()> {
        // A thread that takes no questions gives no answers.
        self.answer(self.patience, |ask| drop(ask.send(question)))
    }

    fn answer(&self, patience: Duration, ask: impl FnOnce(&Sender<Q>)) -> Result<()> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(there) = &*at else { return Err(Error::nccl("an earlier call has failed")) };
        ask(&there.ask);
        let answer = match there.answers.recv_timeout(patience.saturating_add(GRACE)) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(late(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::nccl("its thread has panicked")),
        };
        if answer.is_err() {
            // The thread may never come back: nobody waits for it.
            *at = None;
        }
        answer
    }
}

/// The error of a call that does not end.
pub(super) fn late(patience: Duration) -> Error {
    Error::nccl(format!(
        "a call has not ended within {patience:?}; a rank has died, or cards cannot reach each other: set \
         NCCL_DEBUG=INFO to see what NCCL does"
    ))
}

/// Waits until the thread has let go of what it holds.
impl<Q> Drop for Keeper<Q> {
    fn drop(&mut self) {
        let at = self.at.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(At { ask, thread, .. }) = at.take() {
            drop(ask);
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(5);

    /// Holds what counts its holders; a question of 0 is wrong, one above 9 never answered.
    fn keeper(held: &Arc<()>) -> Result<Keeper<u32>> {
        let held = held.clone();
        Keeper::start(
            (LONG, SHORT),
            move || Ok(held),
            |_, question| match question {
                0 => Err(Error::nccl("found 0")),
                10.. => loop {
                    thread::sleep(SHORT);
                },
                _ => Ok(()),
            },
        )
    }

    #[test]
    fn what_is_held_is_let_go_of_with_the_keeper() {
        let held = Arc::new(());
        let keeper = keeper(&held).expect("begun");
        (1..9).for_each(|question| keeper.ask(question).expect("an answer"));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(keeper);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn an_error_and_an_answer_that_does_not_come_end_it() {
        for (question, expected) in
            [(0, "NCCL: found 0"), (10, "NCCL: a call has not ended within 50ms")]
        {
            let keeper = keeper(&Arc::new(())).expect("begun");
            let start = Instant::now();
            let error = keeper.ask(question).expect_err("no answer").to_string();
            assert!(error.starts_with(expected), "{error}");
            let error = keeper.ask(1).expect_err("it has ended").to_string();
            assert_eq!(error, "NCCL: an earlier call has failed");
            drop(keeper);
            assert!(start.elapsed() < Duration::from_secs(5), "it was waited for");
        }
    }

    #[test]
    fn a_beginning_that_fails_or_does_not_end_is_an_error() {
        let fails = || Err::<(), _>(Error::nccl("no card"));
        let error =
            Keeper::<()>::start((SHORT, LONG), fails, |(), ()| Ok(())).expect_err("no card");
        assert_eq!(error.to_string(), "NCCL: no card");
        let waits = || loop {
            thread::sleep(SHORT);
        };
        let error =
            Keeper::<()>::start((SHORT, LONG), waits, |(): &(), ()| Ok(())).expect_err("late");
        assert!(error.to_string().contains("has not ended within 50ms"), "{error}");
    }
}
