//! Models that train: equal to PyTorch's, and frozen like any other.

mod bert;
mod dinov2;
mod distilbert;
mod files;
mod golden;
mod images;
mod laws;
mod llama;
mod llama_files;
mod odd;
mod resnet;
mod vit;
