//! In a run.
