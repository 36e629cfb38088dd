//! Batch norm and group norm.
