//! `Training`: the loop in one struct; and its parts driven in any order.

mod any_order;
mod any_run;
mod cache;
mod changed;
mod compare;
mod costs;
mod decide;
mod equal;
mod held;
mod in_backward;
mod late;
mod misuse;
mod observed;
mod odd;
mod parts;
mod recompute;
mod recomputed_view;
mod report;
mod resume;
mod rig;
mod rules;
mod seen;
mod sinks;
mod stop;
mod threads;
mod turns;
