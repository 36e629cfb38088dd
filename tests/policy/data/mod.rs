//! Policies from data, and the table of all.
