use std::sync::{Arc, Mutex};

use candle_nn::{Embedding, Linear};
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    embedding: Arc<Mutex<Embedding>>,
    head: Linear,
}

fn main() {}
