//! Policies that go by time alone.

mod fraction;
mod freeze_at;
mod freeze_out;
mod geometric;
mod gradual;
mod grouped;
mod linear;
mod phases;
mod rhythm;
mod triangle;
mod when;

use super::settings::Listed;

pub use freeze_at::{FreezeAt, FreezeAtSettings, Front, Milestone};
pub use freeze_out::{FreezeOut, FreezeOutSettings, Spacing};
pub use geometric::{Geometric, GeometricSettings};
pub use gradual::{GradualUnfreezing, GradualUnfreezingSettings};
pub use linear::{Linear, LinearSettings};
pub use phases::{Phase, Phases, PhasesSettings};
pub use triangle::{Triangle, slanted_triangle};
pub use when::When;

pub(super) static LISTED: &[Listed] = &[
    Listed::of::<LinearSettings>(),
    Listed::of::<FreezeOutSettings>(),
    Listed::of::<GeometricSettings>(),
    Listed::of::<GradualUnfreezingSettings>(),
    Listed::of::<PhasesSettings>(),
    Listed::of::<FreezeAtSettings>(),
];
