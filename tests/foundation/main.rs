//! The foundation, proven by effects: plans, views, schedules, the freezer, and equality with the
//! reference over the recordings in tests/data.

mod asked;
mod by_hand;
mod decision;
mod effects;
mod follow;
mod freezer;
mod hook;
mod layers;
mod leaf_order;
mod load;
mod metrics;
mod numbers;
mod owners;
mod plan;
mod rebuilt;
mod report;
mod schedule;
mod seeded;
mod statistics;
mod support;
mod training;
mod turns;
mod views;
#[path = "../walks/mod.rs"]
mod walks;
