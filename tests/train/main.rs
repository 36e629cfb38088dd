//! `Training`: the loop in one struct.

mod decide;
mod equal;
mod misuse;
mod odd;
mod parts;
mod resume;
mod rig;
mod stop;
mod turns;
