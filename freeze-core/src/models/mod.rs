//! Pretrained models that train: each of their layers has a backward, and each can be frozen.
//!
//! With the feature `models`. Tensors have the names of the published safetensors files, so weights load and save
//! unchanged; settings are read from the `config.json` beside them.
//!
//! | model | covers |
//! |---|---|
//! | [`bert`] | BERT, MiniLM |
//! | [`distilbert`] | DistilBERT |
//! | [`llama`] | Llama 2 and 3, SmolLM 1 to 3, Qwen2, Qwen3 |
//! | [`vit`] | ViT |
//! | [`dinov2`] | DINOv2, also the giant |
//! | [`resnet`] | ResNet 18 to 152, in the files of torchvision, timm and `transformers` |

mod activation;
mod any;
mod attention;
pub mod bert;
mod config;
mod context;
pub mod dinov2;
pub mod distilbert;
mod fresh;
pub mod llama;
mod patches;
mod places;
mod pooling;
mod positions;
mod pretrained;
pub mod resnet;
mod stack;
pub mod vit;

pub use activation::Activation;
pub use any::ModelConfig;
pub use config::PretrainedConfig;
pub use context::{ImageContext, TextContext};
pub use pooling::{Pooling, mean_pool};
pub use pretrained::load_pretrained;
