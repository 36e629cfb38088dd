//! The audit: what arrived, why not, what frozen leaves cost, and that nothing is left moved.

mod causes;
mod hook;
mod models;
mod restored;
mod work;
