//! The layers and operations of `freeze_core::nn`: gradients against finite differences and candle's
//! own, what is not computed for what is frozen, and what is refused.

mod activation;
mod attention;
mod backward;
mod conv;
mod dropout;
mod embedding;
mod encoder;
mod linear;
mod loss;
mod multi_head_attention;
mod norms;
mod numbers;
mod pool;
mod recompute;
mod rnn;
mod sums;
mod support;
