//! Random generators whose state is saved with a run.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::nn::{Dropout, DropoutState};
use crate::plan::Prepared;

/// A random generator that can be stopped and taken up again.
///
/// Whatever is `Clone` and goes through serde is one, NaN and infinities included, as it is: `rand_chacha::ChaCha8Rng` with its
/// `serde` feature, a seed, a permutation of sample indices. [`Dropout`] is one too, though those of
/// the model are saved with it. Generators that hide their state, such as `rand`'s `StdRng` and the
/// thread's own, cannot be saved.
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

/// What begins the names of the library's own parts.
pub(crate) const OWN: &str = "freeze.";

/// A registered generator, whatever its type.
pub(crate) trait Registered {
    /// The state as bytes that can be read back; the reason if there are none.
    fn save(&self) -> Result<Vec<u8>, String>;

    /// Reads a state and makes it ready.
    fn prepare(&mut self, bytes: &[u8]) -> Result<Prepared<'_, ()>, String>;
}

/// What is lent stays what it is.
impl<T: Registered + ?Sized> Registered for &mut T {
    fn save(&self) -> Result<Vec<u8>, String> {
        (**self).save()
    }

    fn prepare(&mut self, bytes: &[u8]) -> Result<Prepared<'_, ()>, String> {
        (**self).prepare(bytes)
    }
}

/// A generator that is lent.
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

/// Plain data as bytes that can be read back, to the last bit: not JSON, which has no NaN and no
/// infinities.
pub(crate) fn to_bytes<T: Serialize + DeserializeOwned>(value: &T) -> Result<Vec<u8>, String> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|error| error.to_string())?;
    let read: Result<T, _> = rmp_serde::from_slice(&bytes);
    let unread = |error| format!("its state cannot be read back: {error}");
    read.map(|_| bytes).map_err(unread)
}

/// What [`to_bytes`] wrote.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}
