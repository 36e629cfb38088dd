//! Policies that go by time alone.

mod data;
mod freeze_at;
mod freeze_out;
mod geometric;
mod gradual;
mod laws;
mod linear;
mod phases;
mod real;
mod rig;
mod runs;
mod triangle;
