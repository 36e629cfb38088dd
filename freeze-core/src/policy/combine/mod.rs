//! Policies made of other policies.

mod all_trained;
mod bounds;
mod every;
mod ext;
mod listed;
mod memory;
mod monotone;
mod only;
mod overrule;
mod pair;
mod per_round;
mod rounds;
mod ruled;
mod share;
mod span;
mod stop;
mod then;
mod trial;
mod unfreeze_on;

pub use all_trained::{AllTrained, AllTrainedSettings, all_trained};
pub use bounds::{AtLeast, AtMost};
pub use every::Every;
pub use ext::PolicyExt;
pub(super) use listed::LISTED;
pub use monotone::Monotone;
pub use only::Only;
pub use pair::Pair;
pub use per_round::PerRound;
pub use ruled::Ruled;
pub use stop::EndsWhenFrozen;
pub use then::Then;
pub use unfreeze_on::UnfreezeOn;
