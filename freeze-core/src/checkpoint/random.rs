//! Random generators whose state is saved with a run.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::nn::{Dropout, DropoutState};

/// A random generator that can be stopped and taken up again.
///
/// Whatever is `Clone` and goes through serde is one, as it is: `rand_chacha::ChaCha8Rng` with its
/// `serde` feature, a seed, a permutation of sample indices. [`Dropout`] is one too. Generators
/// that hide their state, such as `rand`'s `StdRng` and the thread's own, cannot be saved.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a random generator whose state can be saved",
    note = "a generator of your own: derive `Clone`, `serde::Serialize` and `serde::Deserialize`",
    note = "`rand::StdRng` and `SmallRng` hide their state: use `rand_chacha` with its `serde` feature"
)]
pub trait Resumable {
    /// The state: plain data.
    type State: Serialize + DeserializeOwned;

    /// Where the generator stands.
    fn resumable_state(&self) -> Self::State;

    /// Puts the generator where `state` says; cannot fail.
    fn resume_from(&mut self, state: Self::State);
}

impl<T: Clone + Serialize + DeserializeOwned> Resumable for T {
    type State = T;

    fn resumable_state(&self) -> T {
        self.clone()
    }

    fn resume_from(&mut self, state: T) {
        *self = state;
    }
}

/// Clones share the generator, so a clone of the model's dropout does.
impl Resumable for Dropout {
    type State = DropoutState;

    fn resumable_state(&self) -> DropoutState {
        self.state()
    }

    fn resume_from(&mut self, state: DropoutState) {
        self.set_state(state);
    }
}

/// A registered generator, whatever its type.
pub(crate) trait Registered {
    fn save(&self) -> serde_json::Result<String>;

    /// Reads a state without taking it up.
    fn prepare(&mut self, text: &str) -> serde_json::Result<()>;

    /// Takes up what was prepared.
    fn commit(&mut self);
}

pub(crate) struct Slot<'a, R: Resumable> {
    target: &'a mut R,
    staged: Option<R::State>,
}

impl<'a, R: Resumable> Slot<'a, R> {
    pub(crate) fn new(target: &'a mut R) -> Self {
        Self { target, staged: None }
    }
}

impl<R: Resumable> Registered for Slot<'_, R> {
    fn save(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.target.resumable_state())
    }

    fn prepare(&mut self, text: &str) -> serde_json::Result<()> {
        self.staged = Some(serde_json::from_str(text)?);
        Ok(())
    }

    fn commit(&mut self) {
        if let Some(state) = self.staged.take() {
            self.target.resume_from(state);
        }
    }
}
