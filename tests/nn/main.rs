//! The layers and operations of `freeze_core::nn`: gradients against finite differences and candle's
//! own, what is not computed for what is frozen, and what is refused.

mod activation;
mod attention;
mod backward;
mod conv;
mod dropout;
mod elementwise;
mod embedding;
mod encoder;
mod linear;
mod links;
mod loss;
mod loss_settings;
mod multi_head_attention;
mod norms;
mod numbers;
mod pool;
mod recompute;
mod rnn;
mod rope;
mod shape;
mod sums;
mod support;
