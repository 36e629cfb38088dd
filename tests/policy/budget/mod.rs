//! Budgets of time and memory.
