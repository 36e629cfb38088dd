//! Policies that go by time alone.

mod linear;

use super::settings::Listed;

pub use linear::{Linear, LinearSettings};

pub(super) static LISTED: &[Listed] = &[Listed::of::<LinearSettings>()];
