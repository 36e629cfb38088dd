//! The examples: what they read and what they do as programs.

#[allow(dead_code, reason = "the examples use what the tests do not")]
#[path = "../../examples/common/mod.rs"]
mod common;

mod dataset;
mod fashion;
mod finetune;
mod finetune_kept;
mod idx;
mod language;
mod parallel;
mod programs;
mod progress;
mod rated;
mod sentiment;
mod study;
mod study_ends;
mod study_show;
mod study_text;
