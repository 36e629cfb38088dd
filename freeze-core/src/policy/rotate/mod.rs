//! Policies in which blocks take turns.

mod badam;
mod chances;
mod described;
mod draws;
mod hift;
mod lisa;
mod members;
mod norms;
mod turn_state;
mod turns;
mod weighted;
mod weighted_memory;
mod weighted_settings;

use super::settings::Listed;

pub use badam::{BAdam, BAdamOrder, BAdamSettings};
pub use chances::{draw_chances, largest_scores};
pub use hift::{HiFt, HiFtOrder, HiFtSettings};
pub use lisa::{Lisa, LisaSettings};
pub use turn_state::TurnState;
pub use weighted::Weighted;
pub use weighted_settings::{Sampling, Score, WeightedSettings};

pub(super) static LISTED: &[Listed] = &[
    Listed::of::<BAdamSettings>(),
    Listed::of::<HiFtSettings>(),
    Listed::of::<LisaSettings>(),
    Listed::of::<WeightedSettings>(),
];
