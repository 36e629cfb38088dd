//! The policies: what they decide, from code and from data, and what becomes of a run.

mod budget;
mod combine;
mod data;
mod mlp;
mod rotate;
mod signal;
mod time;
