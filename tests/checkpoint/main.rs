//! Stopping and resuming, proven by bits: resumed runs against uninterrupted ones, damaged files,
//! killed processes, full disks.

mod exact;
mod rig;
