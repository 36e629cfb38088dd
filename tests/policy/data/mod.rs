//! Every policy of the library from data, and through a scripted run.

mod all;
mod random;
pub mod script;
mod sources;
mod training;
