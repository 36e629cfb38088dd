//! Random generators whose state is saved with a run.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::nn::{Dropout, DropoutState};
use crate::plan::Prepared;

/// A random generator whose state can be saved and restored.
///
/// Implemented for every type that is `Clone` and can be serialized by serde (NaN and infinities
/// included): `rand_chacha::ChaCha8Rng` with its `serde` feature, a seed, a permutation of sample
/// indices. Also for [`Dropout`], though those of the model are saved with it. Generators that hide
/// their state, such as `rand`'s `StdRng` and its thread-local one, cannot be saved.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a random generator whose state can be saved",
    note = "a generator of your own: derive `Clone`, `serde::Serialize` and `serde::Deserialize`",
    note = "`rand::StdRng` and `SmallRng` hide their state: use `rand_chacha` with its `serde` feature"
)]
pub trait Resumable {
    /// The state, as plain data.
    type State: Serialize + DeserializeOwned;

    /// Returns the generator's state.
    fn resumable_state(&self) -> Self::State;

    /// Sets the generator's state; cannot fail.
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

/// Clones share the generator, so a clone of the model's dropout can be passed.
impl Resumable for Dropout {
    type State = DropoutState;

    fn resumable_state(&self) -> DropoutState {
        self.state()
    }

    fn resume_from(&mut self, state: DropoutState) {
        self.set_state(state);
    }
}

/// The prefix of the names of the library's own parts.
pub(crate) const OWN: &str = "freeze.";

/// A registered generator, whatever its type.
pub(crate) trait Registered {
    /// The state as bytes; the reason if it cannot be saved.
    fn save(&self) -> Result<Vec<u8>, String>;

    /// Reads a state and prepares to restore it.
    fn prepare(&mut self, bytes: &[u8]) -> Result<Prepared<'_, ()>, String>;
}

/// A borrowed one is registered like an owned one.
impl<T: Registered + ?Sized> Registered for &mut T {
    fn save(&self) -> Result<Vec<u8>, String> {
        (**self).save()
    }

    fn prepare(&mut self, bytes: &[u8]) -> Result<Prepared<'_, ()>, String> {
        (**self).prepare(bytes)
    }
}

/// A borrowed generator.
pub(super) struct Lent<'a, R>(pub(super) &'a mut R);

impl<R: Resumable> Registered for Lent<'_, R> {
    fn save(&self) -> Result<Vec<u8>, String> {
        to_bytes(&self.0.resumable_state())
    }

    fn prepare(&mut self, bytes: &[u8]) -> Result<Prepared<'_, ()>, String> {
        let state = from_bytes(bytes)?;
        Ok(Prepared::new(move || self.0.resume_from(state)))
    }
}

/// Plain data as bytes that read back exactly. Not JSON, which has no NaN and no infinities.
pub(crate) fn to_bytes<T: Serialize + DeserializeOwned>(value: &T) -> Result<Vec<u8>, String> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|error| error.to_string())?;
    let read: Result<T, _> = rmp_serde::from_slice(&bytes);
    let unread = |error| format!("its state cannot be read back: {error}");
    read.map(|_| bytes).map_err(unread)
}

/// Reads what [`to_bytes`] wrote.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}
