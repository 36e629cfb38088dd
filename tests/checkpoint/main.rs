//! Stopping and resuming, proven by bits: resumed runs against uninterrupted ones, files of other
//! runs, damaged files, killed processes, full disks.

mod bad_files;
mod bad_inputs;
mod child;
mod craft;
mod damage;
mod delta;
mod disk;
mod doc;
mod dropouts;
mod exact;
mod exact_states;
mod folder;
mod fuzz;
mod gathered;
mod holds;
mod hooks;
mod kill;
mod manager;
mod memory;
mod misfit;
mod numbers;
mod parts;
mod refused;
mod rig;
mod turns;
mod weights;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);
