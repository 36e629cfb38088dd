//! What frozen stages put out, kept by sample.

#[allow(dead_code, unused_imports)] // what it is for stands above it soon
mod store;

pub use store::{KeptFront, clear, list};
