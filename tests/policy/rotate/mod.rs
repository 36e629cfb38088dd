//! Policies in which blocks take turns.

mod golden;
mod laws;
mod members;
mod refused;
mod resume;
mod rig;
mod run;
mod state;
mod weighted;
