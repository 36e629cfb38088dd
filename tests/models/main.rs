//! Models that train: equal to PyTorch's, and frozen like any other.

mod bert;
mod distilbert;
mod files;
mod golden;
mod laws;
mod llama;
mod llama_files;
