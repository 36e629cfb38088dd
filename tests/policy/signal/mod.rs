//! Policies that go by what training shows.

mod golden;
mod golden_rates;
mod laws;
mod limits;
mod real;
mod refused;
mod resumed;
mod rig;
mod stages;
