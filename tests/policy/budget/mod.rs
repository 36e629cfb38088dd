//! Budgets of time and memory.

mod chosen;
mod golden;
mod limits;
mod refused;
mod resumed;
mod rig;
mod run;
