//! A thread that sends buckets while the backward goes on.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::flat::Flat;
use crate::error::{Error, Result};
use crate::parallel::Group;

/// Sends what it is given in that order, and ends with the one who holds it.
#[derive(Debug)]
pub(super) struct Courier {
    /// `None` once there is nothing more to send.
    send: Option<Sender<Flat>>,
    done: Receiver<(Flat, Result<()>)>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl Courier {
    pub(super) fn new(group: &Group, halves: bool) -> Result<Self> {
        let ((send, to_send), (hand_back, done), group) = (channel(), channel(), group.clone());
        let carry = move || {
            for mut flat in to_send {
                let sum = Flat::add_up(&mut flat, &group, halves);
                // With an error, too: what is on a card is let go of where the card was taken.
                if hand_back.send((flat, sum)).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("freeze-gradients".into()).spawn(carry);
        let thread =
            thread.map_err(|error| Error::training(format!("cannot start a thread: {error}")))?;
        Ok(Self { send: Some(send), done, under_way: 0, thread: Some(thread) })
    }

    pub(super) fn take(&mut self, flat: Flat) -> Result<()> {
        self.under_way += 1;
        let sent = self.send.as_ref().map(|send| send.send(flat).is_ok());
        if sent == Some(true) { Ok(()) } else { Err(gone()) }
    }

    /// Waits for all that is under way; the first error, if there is one.
    pub(super) fn all(&mut self) -> Result<Vec<Flat>> {
        let waits = std::mem::take(&mut self.under_way);
        let back: Vec<Result<Flat>> = (0..waits)
            .map(|_| {
                let (flat, sum) = self.done.recv().map_err(|_| gone())?;
                sum.map(|()| flat)
            })
            .collect();
        back.into_iter().collect()
    }
}

/// The thread has a handle to the group. Were it the last one, the group would end on the thread, or not at all where
/// the program ends first, and MPI takes a rank that ends so for one that has died.
impl Drop for Courier {
    fn drop(&mut self) {
        self.send = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::training("the thread that sends gradients has ended")
}
