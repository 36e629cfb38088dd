//! The audit: what arrived, why not, what frozen leaves cost, and that nothing is left moved.

mod causes;
mod glance;
mod hook;
mod idle;
mod models;
mod operands;
mod past;
mod random;
mod restored;
mod stages;
mod work;
